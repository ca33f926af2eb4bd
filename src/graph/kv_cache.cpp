#include "graph/kv_cache.h"

#include "base/error.h"
#include "model/huge_pages.h"

namespace orthorank {

namespace {

ggml_type to_ggml(KvType type) {
    switch (type) {
        case KvType::f16:
            return GGML_TYPE_F16;
        case KvType::f32:
            return GGML_TYPE_F32;
        case KvType::q8_0:
            return GGML_TYPE_Q8_0;
    }
    return GGML_TYPE_F16;
}

}  // namespace

KvType kv_type_from_name(const std::string &name) {
    if (name == "f16") return KvType::f16;
    if (name == "f32") return KvType::f32;
    if (name == "q8_0") return KvType::q8_0;
    fail(ErrorKind::usage, "unknown KV cache type '{}' (known: f16, f32, q8_0)", name);
}

const char *kv_type_name(KvType type) {
    return ggml_type_name(to_ggml(type));
}

int64_t kv_cache_bytes(const Hparams &hparams, KvType type, int n_ctx, int n_slots) {
    size_t bytes_per_cell = 0;
    for (int il = 0; il < hparams.n_layers; ++il) {
        bytes_per_cell += ggml_row_size(to_ggml(type), hparams.n_embd_k(il)) +
                          ggml_row_size(to_ggml(type), hparams.n_embd_v(il));
    }
    const int64_t n_cells = (int64_t{n_ctx} + k_kv_padding - 1) / k_kv_padding * k_kv_padding;
    return static_cast<int64_t>(bytes_per_cell) * n_cells * n_slots;
}

KvCache::KvCache(const Hparams &hparams, ggml_backend_buffer_type_t buffer_type, KvType type,
                 int n_ctx, int n_slots)
    : n_ctx_((n_ctx + k_kv_padding - 1) / k_kv_padding * k_kv_padding), n_slots_(n_slots) {
    CHECK(n_ctx > 0 && n_slots > 0);
    const int block = static_cast<int>(ggml_blck_size(to_ggml(type)));
    if (hparams.head_dim_k % block != 0 || hparams.head_dim_v % block != 0) {
        fail(ErrorKind::usage,
             "a {} KV cache needs head sizes divisible by {}, this model has {} and {}",
             ggml_type_name(to_ggml(type)), block, hparams.head_dim_k, hparams.head_dim_v);
    }
    const size_t n_tensors = 2 * static_cast<size_t>(hparams.n_layers);
    ctx_.reset(ggml_init({ggml_tensor_overhead() * (n_tensors + 1), nullptr, true}));
    const int64_t n_cells = static_cast<int64_t>(n_ctx_) * n_slots_;
    for (int il = 0; il < hparams.n_layers; ++il) {
        k_.push_back(ggml_new_tensor_2d(ctx_.get(), to_ggml(type), hparams.n_embd_k(il), n_cells));
        v_.push_back(ggml_new_tensor_2d(ctx_.get(), to_ggml(type), hparams.n_embd_v(il), n_cells));
        ggml_set_name(k_.back(), "k_cache");
        ggml_set_name(v_.back(), "v_cache");
    }
    buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(ctx_.get(), buffer_type));
    if (!buffer_) {
        fail(ErrorKind::limit, "no memory for the KV cache of {} sequences of {} tokens", n_slots_,
             n_ctx_);
    }
    advise_huge_pages(buffer_.get());
    // Cells past a sequence's end are masked, but a masked NaN would still be one.
    ggml_backend_buffer_clear(buffer_.get(), 0);
}

int64_t KvCache::bytes() const {
    return static_cast<int64_t>(ggml_backend_buffer_get_size(buffer_.get()));
}

void KvCache::copy_cells(int from_slot, int to_slot, int64_t n, int end_layer) {
    std::vector<uint8_t> bytes;
    for (int il = 0; il < end_layer; ++il) {
        for (ggml_tensor *tensor : {k_[il], v_[il]}) {
            bytes.resize(tensor->nb[1] * static_cast<size_t>(n));
            ggml_backend_tensor_get(tensor, bytes.data(), tensor->nb[1] * cell(from_slot, 0),
                                    bytes.size());
            ggml_backend_tensor_set(tensor, bytes.data(), tensor->nb[1] * cell(to_slot, 0),
                                    bytes.size());
        }
    }
}

}  // namespace orthorank
