#include "model/export_model.h"

#include <ggml-cpp.h>
#include <gguf.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/output_file.h"
#include "model/arch_keys.h"
#include "model/file_bytes.h"
#include "model/gguf_file.h"
#include "model/gguf_output.h"
#include "model/hparams.h"

namespace orthorank {

namespace {

constexpr int64_t k_copy_bytes = 16 << 20;

void pad_to(OutputFile &output, int64_t offset) {
    output.write(std::string(static_cast<size_t>(offset - output.n_bytes()), '\0'));
}

// "blk.12.attn_q.weight": 12 and where the rest begins; -1 for tensors of no block.
int layer_of(const std::string &name, size_t &end) {
    constexpr std::string_view k_prefix = "blk.";
    if (!name.starts_with(k_prefix)) {
        return -1;
    }
    end = k_prefix.size();
    int layer = 0;
    while (end < name.size() && name[end] >= '0' && name[end] <= '9' && layer < 100000) {
        layer = layer * 10 + (name[end++] - '0');
    }
    return end > k_prefix.size() ? layer : -1;
}

// The name in the new file, or nothing when the tensor is left out.
std::string new_name(const std::string &name, const std::vector<int> &removed) {
    size_t end = 0;
    const int layer = layer_of(name, end);
    if (layer < 0) {
        return name;
    }
    const auto place = std::lower_bound(removed.begin(), removed.end(), layer);
    if (place != removed.end() && *place == layer) {
        return {};
    }
    return fmt::format("blk.{}{}", layer - (place - removed.begin()), name.substr(end));
}

size_t bytes_of(gguf_type type) {
    switch (type) {
        case GGUF_TYPE_UINT8:
        case GGUF_TYPE_INT8:
        case GGUF_TYPE_BOOL:
            return 1;
        case GGUF_TYPE_UINT16:
        case GGUF_TYPE_INT16:
            return 2;
        case GGUF_TYPE_UINT64:
        case GGUF_TYPE_INT64:
        case GGUF_TYPE_FLOAT64:
            return 8;
        default:
            return 4;
    }
}

// Numbers that differ from layer to layer (heads, feed-forward lengths): those of removed layers go
// out of their arrays. An array may be longer than there are layers; what is behind them stays.
void cut_arrays(gguf_context *out, const gguf_context *in, const std::string &arch,
                const std::vector<int> &removed) {
    for (const std::string &name : k_layer_keys) {
        const std::string key = arch + "." + name;
        const int64_t id = gguf_find_key(in, key.c_str());
        if (id < 0 || gguf_get_kv_type(in, id) != GGUF_TYPE_ARRAY) {
            continue;
        }
        const gguf_type type = gguf_get_arr_type(in, id);
        const size_t bytes = bytes_of(type);
        const auto *data = static_cast<const char *>(gguf_get_arr_data(in, id));
        const auto n = static_cast<int>(gguf_get_arr_n(in, id));
        std::string kept;
        for (int il = 0; il < n; ++il) {
            if (!std::binary_search(removed.begin(), removed.end(), il)) {
                kept.append(data + static_cast<size_t>(il) * bytes, bytes);
            }
        }
        gguf_set_arr_data(out, key.c_str(), type, kept.data(), kept.size() / bytes);
    }
}

// Where a file says nothing, the width of a head follows from the heads of its first layer, which
// may be another one now, with another number of them.
void keep_head_size(gguf_context *out, const std::string &arch, const Hparams &hparams) {
    if (gguf_get_kv_type(out, gguf_find_key(out, (arch + "." + k_layer_keys.front()).c_str())) !=
        GGUF_TYPE_ARRAY) {
        return;
    }
    const auto size = static_cast<uint32_t>(hparams.layers.front().head_dim);
    for (const char *name : {".attention.key_length", ".attention.value_length"}) {
        const std::string key = arch + name;
        if (gguf_find_key(out, key.c_str()) < 0) {
            gguf_set_val_u32(out, key.c_str(), size);
        }
    }
}

// Which layers have a window follows from their numbers, unless an array says it: layers that are
// left take other numbers.
void keep_windows(gguf_context *out, const std::string &arch, const std::vector<LayerSpec> &kept) {
    const std::string key = arch + "." + k_window_pattern_key;
    const int64_t id = gguf_find_key(out, key.c_str());
    if (id >= 0 && gguf_get_kv_type(out, id) == GGUF_TYPE_ARRAY) {
        return;
    }
    std::vector<int8_t> flags;
    for (const LayerSpec &layer : kept) {
        flags.push_back(layer.window > 0 ? 1 : 0);
    }
    gguf_set_arr_data(out, key.c_str(), GGUF_TYPE_BOOL, flags.data(), flags.size());
}

int n_removed_before(int layer, const std::vector<int> &removed) {
    return static_cast<int>(std::lower_bound(removed.begin(), removed.end(), layer) -
                            removed.begin());
}

// Layers that read another's keys know it by its new number, and there are fewer of them.
void keep_shared_keys(gguf_context *out, const std::string &arch, const Hparams &hparams,
                      const std::vector<int> &removed, std::vector<LayerSpec> &kept) {
    const auto is_removed = [&](int il) {
        return std::binary_search(removed.begin(), removed.end(), il);
    };
    uint32_t n_reading = 0;
    for (int il = 0; il < hparams.n_layers; ++il) {
        const int source = hparams.layers[static_cast<size_t>(il)].kv_layer;
        if (source < 0 || is_removed(il)) {
            continue;
        }
        if (is_removed(source)) {
            fail(ErrorKind::usage, "layer {} cannot be left out: layer {} reads its keys", source,
                 il);
        }
        kept[static_cast<size_t>(il - n_removed_before(il, removed))].kv_layer =
            source - n_removed_before(source, removed);
        ++n_reading;
    }
    const std::string key = arch + "." + k_shared_layers_key;
    if (gguf_find_key(out, key.c_str()) >= 0) {
        gguf_set_val_u32(out, key.c_str(), n_reading);
    }
}

// Whether the layers of a file with this metadata are these.
bool says(const gguf_context *out, const std::string &path, const std::vector<LayerSpec> &kept) {
    try {
        return read_hparams(GgufFile(out, path)).layers == kept;
    } catch (const Error &) {
        return false;
    }
}

// Takes the layers out of the numbers that describe them.
void remove_layers(gguf_context *out, const gguf_context *in, const GgufFile &file,
                   const std::vector<int> &removed) {
    const Hparams hparams = read_hparams(file);
    const std::string &arch = hparams.arch;
    std::vector<LayerSpec> kept;
    for (int il = 0; il < hparams.n_layers; ++il) {
        if (!std::binary_search(removed.begin(), removed.end(), il)) {
            kept.push_back(hparams.layers[static_cast<size_t>(il)]);
        }
    }
    keep_shared_keys(out, arch, hparams, removed, kept);
    gguf_set_val_u32(out, (arch + ".block_count").c_str(), static_cast<uint32_t>(kept.size()));
    cut_arrays(out, in, arch, removed);
    keep_head_size(out, arch, hparams);
    if (hparams.windows != std::vector<int>{0}) {
        keep_windows(out, arch, kept);
    }
    if (!says(out, file.path(), kept)) {
        fail(ErrorKind::usage,
             "{}: without layers {} the others would be computed otherwise: what a layer of "
             "architecture {} is follows from its number, and a file cannot say it; generate with "
             "the plan instead",
             file.path(), fmt::join(removed, ", "), arch);
    }
}

// Everything that an earlier export put there.
void remove_plan(gguf_context *gguf) {
    for (int64_t i = gguf_get_n_kv(gguf) - 1; i >= 0; --i) {
        const std::string key = gguf_get_key(gguf, i);
        if (key.starts_with(k_array_prefix)) {
            gguf_remove_key(gguf, key.c_str());
        }
    }
}

// A tensor outside the layers with a part for each of them, in rows or whole: which parts are left.
struct LayerParts {
    int64_t n_rows = 0;  // of n_bytes / n_rows; each begins with its part for layer 0
    int64_t part_bytes = 0;
    std::vector<int> kept;
};

// Such a tensor without the parts of removed layers, and its shape then; nothing for others.
std::optional<LayerParts> cut_parts(const TensorInfo &info, int n_layers,
                                    const std::vector<int> &removed, ggml_tensor *shape) {
    const bool is_in_rows = info.name == "per_layer_token_embd.weight";
    if (removed.empty() || (!is_in_rows && info.name != "per_layer_model_proj.weight")) {
        return std::nullopt;
    }
    const size_t dimension = is_in_rows ? 0 : 1;
    const auto type = static_cast<ggml_type>(info.type);
    const int64_t n_of_part = info.ne[dimension] / n_layers;
    if (info.ne[dimension] % n_layers != 0 ||
        (is_in_rows && n_of_part % ggml_blck_size(type) != 0)) {
        fail(ErrorKind::format, "{}: {} numbers in {}, expected a part for each of {} layers",
             info.name, info.ne[dimension], is_in_rows ? "a row" : "a column", n_layers);
    }
    LayerParts parts;
    for (int il = 0; il < n_layers; ++il) {
        if (!std::binary_search(removed.begin(), removed.end(), il)) {
            parts.kept.push_back(il);
        }
    }
    parts.n_rows = is_in_rows ? info.ne[1] : 1;
    parts.part_bytes = info.n_bytes / parts.n_rows / n_layers;
    shape->ne[dimension] = n_of_part * static_cast<int64_t>(parts.kept.size());
    shape->nb[1] = ggml_row_size(type, shape->ne[0]);
    shape->nb[2] = shape->nb[1] * static_cast<size_t>(shape->ne[1]);
    shape->nb[3] = shape->nb[2];
    return parts;
}

void copy_parts(OutputFile &output, const FileBytes &bytes, const TensorInfo &info,
                const LayerParts &parts, const std::function<void()> &on_part) {
    const int64_t row_bytes = info.n_bytes / parts.n_rows;
    std::vector<std::byte> scratch;
    for (int64_t row = 0; row < parts.n_rows; ++row) {
        for (const int il : parts.kept) {
            const std::span<const std::byte> part = bytes.bytes(
                info.offset + row * row_bytes + il * parts.part_bytes, parts.part_bytes, scratch);
            output.write({reinterpret_cast<const char *>(part.data()), part.size()});
        }
        if (on_part) {
            on_part();
        }
    }
}

void copy_tensor(OutputFile &output, const FileBytes &bytes, const TensorInfo &info,
                 const std::function<void()> &on_part) {
    std::vector<std::byte> scratch;
    for (int64_t done = 0; done < info.n_bytes; done += k_copy_bytes) {
        const int64_t n = std::min(k_copy_bytes, info.n_bytes - done);
        const std::span<const std::byte> part = bytes.bytes(info.offset + done, n, scratch);
        output.write({reinterpret_cast<const char *>(part.data()), part.size()});
        if (on_part) {
            on_part();
        }
    }
}

}  // namespace

std::optional<std::string> plan_text_in(const std::string &gguf_path) {
    return GgufFile(gguf_path).find_text(k_plan_key);
}

int64_t export_gguf(const std::string &from, const std::string &to, const GgufChanges &changes,
                    const std::function<void()> &on_part) {
    const GgufFile file(from);
    refuse_gguf_output(to);
    ggml_context *tensors_raw = nullptr;
    const gguf_context_ptr in(gguf_init_from_file(from.c_str(), {true, &tensors_raw}));
    const ggml_context_ptr tensors(tensors_raw);
    const gguf_context_ptr out(gguf_init_empty());
    gguf_set_kv(out.get(), in.get());
    // The copy is aligned as gguf aligns by default, whatever the original was.
    gguf_remove_key(out.get(), "general.alignment");
    const std::string arch = file.text("general.architecture");
    const std::string count_key = arch + ".block_count";
    const auto n_layers = static_cast<int>(file.integer(count_key, 1, 65536));
    const std::vector<int> &removed = changes.removed_layers;
    CHECK(static_cast<int>(removed.size()) < n_layers);
    if (!removed.empty()) {
        remove_layers(out.get(), in.get(), file, removed);
    }
    if (!removed.empty() || !changes.plan.empty()) {
        remove_plan(out.get());
    }
    if (!changes.plan.empty()) {
        set_float_metadata(out.get(), changes.plan_metadata);
        set_float_arrays(out.get(), changes.plan_tensors);
        gguf_set_val_str(out.get(), k_plan_key, changes.plan.c_str());
    }
    struct Kept {
        const TensorInfo *info;
        std::optional<LayerParts> parts;  // else all of it
    };
    std::vector<Kept> kept;
    for (const TensorInfo &info : file.tensors()) {
        const std::string name = new_name(info.name, removed);
        if (!name.empty()) {
            ggml_tensor *tensor = ggml_get_tensor(tensors.get(), info.name.c_str());
            CHECK(tensor != nullptr);
            kept.push_back({&info, cut_parts(info, n_layers, removed, tensor)});
            ggml_set_name(tensor, name.c_str());
            gguf_add_tensor(out.get(), tensor);
            // Not to be found under its new name when a later tensor's old name is looked up.
            ggml_set_name(tensor, "");
        }
    }
    OutputFile output(to);
    std::string meta(gguf_get_meta_size(out.get()), '\0');
    gguf_get_meta_data(out.get(), meta.data());
    output.write(meta);
    const FileBytes bytes(from, /*use_mmap=*/false);
    for (size_t i = 0; i < kept.size(); ++i) {
        const size_t offset = gguf_get_tensor_offset(out.get(), static_cast<int64_t>(i));
        pad_to(output, static_cast<int64_t>(meta.size() + offset));
        if (kept[i].parts) {
            copy_parts(output, bytes, *kept[i].info, *kept[i].parts, on_part);
        } else {
            copy_tensor(output, bytes, *kept[i].info, on_part);
        }
    }
    const auto alignment = static_cast<int64_t>(gguf_get_alignment(out.get()));
    pad_to(output, (output.n_bytes() + alignment - 1) / alignment * alignment);
    output.finish();
    return output.n_bytes();
}

}  // namespace orthorank
