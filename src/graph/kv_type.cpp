#include "graph/kv_type.h"

#include <ggml.h>

#include "base/error.h"
#include "graph/kv_cache.h"

namespace orthorank {

KvType kv_type_from_name(const std::string &name) {
    for (const KvType type : {KvType::f16, KvType::f32, KvType::q8_0}) {
        if (name == kv_type_name(type)) {
            return type;
        }
    }
    fail(ErrorKind::usage, "unknown KV cache type '{}' (known: f16, f32, q8_0)", name);
}

const char *kv_type_name(KvType type) {
    return ggml_type_name(static_cast<ggml_type>(ggml_type_of(type)));
}

int ggml_type_of(KvType type) {
    switch (type) {
        case KvType::f32:
            return GGML_TYPE_F32;
        case KvType::q8_0:
            return GGML_TYPE_Q8_0;
        default:
            return GGML_TYPE_F16;
    }
}

double kv_element_bytes(KvType type) {
    const auto of_ggml = static_cast<ggml_type>(ggml_type_of(type));
    return static_cast<double>(ggml_type_size(of_ggml)) /
           static_cast<double>(ggml_blck_size(of_ggml));
}

void check_kv_type(const Hparams &hparams, KvType type) {
    const auto block = static_cast<int>(ggml_blck_size(static_cast<ggml_type>(ggml_type_of(type))));
    for (const LayerSpec &layer : hparams.layers) {
        if (layer.head_dim % block != 0) {
            fail(ErrorKind::usage,
                 "a {} KV cache needs head sizes divisible by {}, this model has {}",
                 kv_type_name(type), block, layer.head_dim);
        }
    }
}

int64_t kv_layer_bytes(const Hparams &hparams, KvType type, int il, int n_ctx, int n_slots) {
    check_kv_type(hparams, type);
    if (!hparams.has_keys(il)) {
        return 0;
    }
    const auto of_ggml = static_cast<ggml_type>(ggml_type_of(type));
    const size_t bytes_per_cell =
        ggml_row_size(of_ggml, hparams.n_embd_k(il)) + ggml_row_size(of_ggml, hparams.n_embd_v(il));
    const int64_t n_cells = (int64_t{n_ctx} + k_kv_padding - 1) / k_kv_padding * k_kv_padding;
    return static_cast<int64_t>(bytes_per_cell) * n_cells * n_slots;
}

int64_t kv_cache_bytes(const Hparams &hparams, KvType type, int n_ctx, int n_slots) {
    int64_t bytes = 0;
    for (int il = 0; il < hparams.n_layers; ++il) {
        bytes += kv_layer_bytes(hparams, type, il, n_ctx, n_slots);
    }
    return bytes;
}

}  // namespace orthorank
