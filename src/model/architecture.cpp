#include "model/architecture.h"

#include <array>
#include <cmath>

#include "base/error.h"
#include "model/limits.h"

namespace orthorank {

namespace {

constexpr std::array k_architectures = {&k_llama,    &k_qwen2,    &k_qwen3,      &k_gemma2,
                                        &k_gemma3,   &k_qwen2moe, &k_qwen3moe,   &k_phi3,
                                        &k_smollm3,  &k_granite,  &k_granitemoe, &k_olmo2,
                                        &k_mistral3, &k_gpt_oss,  &k_gemma4};

}  // namespace

const Architecture *find_architecture(const std::string &name) {
    for (const Architecture *known : k_architectures) {
        if (name == known->name) {
            return known;
        }
    }
    return nullptr;
}

const Architecture &architecture_of(const GgufFile &file) {
    const std::string name = file.text("general.architecture");
    if (const Architecture *known = find_architecture(name)) {
        return *known;
    }
    std::string supported;
    for (const Architecture *known : k_architectures) {
        supported += (supported.empty() ? "" : ", ") + std::string(known->name);
    }
    fail(ErrorKind::format, "{}: architecture '{}' is not supported (supported: {})", file.path(),
         name, supported);
}

const Architecture &architecture_named(const std::string &name) {
    const Architecture *known = find_architecture(name);
    CHECK(known != nullptr);
    return *known;
}

HeadSize read_head_size(const ArchKeys &keys, bool may_rotate_part, const std::string &suffix,
                        const HeadSize &otherwise) {
    const std::string of_key = "attention.key_length" + suffix;
    const std::string of_value = "attention.value_length" + suffix;
    const std::string of_rotation = "rope.dimension_count" + suffix;
    const int width = keys.integer(of_key, 2, k_max_head_dim, otherwise.width);
    const int values_width = keys.integer(of_value, 2, k_max_head_dim, otherwise.width);
    const int n_rot =
        keys.integer(of_rotation, 2, k_max_head_dim, otherwise.n_rot > 0 ? otherwise.n_rot : width);
    const std::string &path = keys.file().path();
    if (width < 2 || width % 2 != 0) {
        fail(ErrorKind::format, "{}: key {}: heads are {} wide, expected an even number", path,
             keys.full(of_key), width);
    }
    const bool fits = may_rotate_part && n_rot < width && n_rot % 2 == 0;
    if (values_width != width || (n_rot != width && !fits)) {
        fail(ErrorKind::format, "{}: keys {} {}, {} {}, {} {}: expected all equal", path,
             keys.full(of_key), width, keys.full(of_value), values_width, keys.full(of_rotation),
             n_rot);
    }
    return {width, n_rot};
}

void read_windows(const ArchKeys &keys, Hparams &h, int period, std::optional<int64_t> otherwise) {
    const int window = keys.integer("attention.sliding_window", 0, k_max_context, otherwise);
    const std::vector<bool> has_window =
        keys.all_but_every(k_window_pattern_key, h.n_layers, period);
    for (size_t il = 0; il < h.layers.size(); ++il) {
        h.layers[il].window = has_window[il] ? window : 0;
    }
}

float gemma_query_scale(const Hparams &h, int n_layers_of_largest) {
    const int width = h.n_layers == n_layers_of_largest ? h.n_embd / h.layers.front().n_head
                                                        : h.layers.front().head_dim;
    return 1.0f / std::sqrt(static_cast<float>(width));
}

void read_expert_width(const ArchKeys &keys, Hparams &h) {
    const std::vector<int> widths =
        keys.integers("expert_feed_forward_length", h.n_layers, 0, k_max_ff, 0);
    for (size_t il = 0; il < h.layers.size(); ++il) {
        LayerSpec &layer = h.layers[il];
        layer.n_ff = widths[il] > 0 ? widths[il] : layer.n_ff / h.n_expert_used;
        if (layer.n_ff < 1) {
            fail(ErrorKind::format, "{}: layer {} has experts of width {}, expected at least 1",
                 keys.file().path(), il, layer.n_ff);
        }
    }
}

}  // namespace orthorank
