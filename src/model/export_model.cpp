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
    gguf_set_val_u32(out, (arch + ".block_count").c_str(), static_cast<uint32_t>(kept.size()));
    cut_arrays(out, in, arch, removed);
    keep_head_size(out, arch, hparams);
    if (hparams.windows != std::vector<int>{0}) {
        keep_windows(out, arch, kept);
    }
    if (read_hparams(GgufFile(out, file.path())).layers != kept) {
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
    std::vector<const TensorInfo *> kept;
    for (const TensorInfo &info : file.tensors()) {
        const std::string name = new_name(info.name, removed);
        if (!name.empty()) {
            ggml_tensor *tensor = ggml_get_tensor(tensors.get(), info.name.c_str());
            CHECK(tensor != nullptr);
            ggml_set_name(tensor, name.c_str());
            gguf_add_tensor(out.get(), tensor);
            // Not to be found under its new name when a later tensor's old name is looked up.
            ggml_set_name(tensor, "");
            kept.push_back(&info);
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
        copy_tensor(output, bytes, *kept[i], on_part);
    }
    const auto alignment = static_cast<int64_t>(gguf_get_alignment(out.get()));
    pad_to(output, (output.n_bytes() + alignment - 1) / alignment * alignment);
    output.finish();
    return output.n_bytes();
}

}  // namespace orthorank
