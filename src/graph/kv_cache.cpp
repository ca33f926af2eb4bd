#include "graph/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/finite.h"
#include "model/huge_pages.h"

namespace orthorank {

namespace {

// n elements of a type at `data`: are they numbers?
bool all_finite_as(ggml_type type, const void *data, size_t n) {
    if (type == GGML_TYPE_F16) {
        return all_finite_f16({static_cast<const uint16_t *>(data), n});
    }
    if (type == GGML_TYPE_F32) {
        return all_finite({static_cast<const float *>(data), n});
    }
    std::vector<float> values(n);
    ggml_get_type_traits(type)->to_float(data, values.data(), static_cast<int64_t>(n));
    return all_finite(values);
}

}  // namespace

KvCache::KvCache(const Hparams &hparams, ggml_backend_buffer_type_t buffer_type, KvType type,
                 int n_ctx, int n_slots)
    : n_ctx_((n_ctx + k_kv_padding - 1) / k_kv_padding * k_kv_padding),
      n_slots_(n_slots),
      n_open_(static_cast<size_t>(n_slots), 0) {
    CHECK(n_ctx > 0 && n_slots > 0);
    check_kv_type(hparams, type);
    const auto of_ggml = static_cast<ggml_type>(ggml_type_of(type));
    const size_t n_tensors = 2 * static_cast<size_t>(hparams.n_layers);
    ctx_.reset(ggml_init({ggml_tensor_overhead() * (n_tensors + 1), nullptr, true}));
    const int64_t n_cells = static_cast<int64_t>(n_ctx_) * n_slots_;
    for (int il = 0; il < hparams.n_layers; ++il) {
        k_.push_back(ggml_new_tensor_2d(ctx_.get(), of_ggml, hparams.n_embd_k(il), n_cells));
        v_.push_back(ggml_new_tensor_2d(ctx_.get(), of_ggml, hparams.n_embd_v(il), n_cells));
        ggml_set_name(k_.back(), "k_cache");
        ggml_set_name(v_.back(), "v_cache");
    }
    buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(ctx_.get(), buffer_type));
    if (!buffer_) {
        fail(ErrorKind::limit,
             "no memory for the KV cache of {} sequences of {} tokens in {} ({} MiB): ask for a "
             "smaller context (--ctx)",
             n_slots_, n_ctx_, kv_type_name(type),
             kv_cache_bytes(hparams, type, n_ctx_, n_slots_) / (1024 * 1024));
    }
    advise_huge_pages(buffer_.get());
    // Memory of other devices is there whether it is used or not.
    if (!is_on_host()) {
        ggml_backend_buffer_clear(buffer_.get(), 0);
        std::fill(n_open_.begin(), n_open_.end(), n_ctx_);
    }
}

int64_t KvCache::bytes() const {
    return static_cast<int64_t>(ggml_backend_buffer_get_size(buffer_.get()));
}

bool KvCache::is_on_host() const {
    return ggml_backend_buffer_is_host(buffer_.get());
}

// Cells past a sequence's end are masked, but a masked NaN would still be one.
void KvCache::open_cells(int slot, int64_t n) {
    int64_t &n_open = n_open_[static_cast<size_t>(slot)];
    if (n > n_open) {
        clear_cells(slot, n_open, n - n_open);
        n_open = n;
    }
}

void KvCache::close_cells(int slot, int64_t first) {
    int64_t &n_open = n_open_[static_cast<size_t>(slot)];
    if (is_on_host()) {
        n_open = std::min(n_open, first);
    } else {
        clear_cells(slot, first, n_open - first);
    }
}

void KvCache::clear_cells(int slot, int64_t first, int64_t n) {
    for (int il = 0; il < static_cast<int>(k_.size()); ++il) {
        for (ggml_tensor *tensor : {k_[il], v_[il]}) {
            const size_t at = tensor->nb[1] * static_cast<size_t>(cell(slot, first));
            const size_t n_bytes = tensor->nb[1] * static_cast<size_t>(n);
            if (is_on_host()) {
                std::memset(static_cast<char *>(tensor->data) + at, 0, n_bytes);
            } else {
                const std::vector<uint8_t> zeros(n_bytes, 0);
                ggml_backend_tensor_set(tensor, zeros.data(), at, n_bytes);
            }
        }
    }
}

bool KvCache::is_finite(int il, int slot, int64_t first, int64_t n) const {
    std::vector<uint8_t> copy;
    for (const ggml_tensor *tensor : {k_[il], v_[il]}) {
        const size_t at = tensor->nb[1] * static_cast<size_t>(cell(slot, first));
        const auto n_elements = static_cast<size_t>(tensor->ne[0] * n);
        const void *data = static_cast<const char *>(tensor->data) + at;
        if (!is_on_host()) {
            copy.resize(tensor->nb[1] * static_cast<size_t>(n));
            ggml_backend_tensor_get(tensor, copy.data(), at, copy.size());
            data = copy.data();
        }
        if (!all_finite_as(tensor->type, data, n_elements)) {
            return false;
        }
    }
    return true;
}

void KvCache::copy_cells(int from_slot, int to_slot, int64_t n, int end_layer) {
    open_cells(to_slot, n);
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
