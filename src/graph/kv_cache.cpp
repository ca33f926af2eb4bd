#include "graph/kv_cache.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/finite.h"
#include "model/devices.h"
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

KvCache::KvCache(const Hparams &hparams, const std::vector<ggml_backend_buffer_type_t> &by_layer,
                 KvType type, int n_ctx, int n_slots)
    : n_ctx_((n_ctx + k_kv_padding - 1) / k_kv_padding * k_kv_padding),
      n_slots_(n_slots),
      k_(static_cast<size_t>(hparams.n_layers)),
      v_(static_cast<size_t>(hparams.n_layers)),
      n_open_(static_cast<size_t>(n_slots), 0) {
    CHECK(n_ctx > 0 && n_slots > 0 && by_layer.size() == k_.size());
    check_kv_type(hparams, type);
    const auto of_ggml = static_cast<ggml_type>(ggml_type_of(type));
    const int64_t n_cells = static_cast<int64_t>(n_ctx_) * n_slots_;
    for (ggml_backend_buffer_type_t buffer_type : std::set(by_layer.begin(), by_layer.end())) {
        Part part;
        part.ctx.reset(ggml_init({ggml_tensor_overhead() * (2 * k_.size() + 1), nullptr, true}));
        for (int il = 0; il < hparams.n_layers; ++il) {
            const auto i = static_cast<size_t>(il);
            if (by_layer[i] == buffer_type && hparams.has_keys(il)) {
                ggml_context *ctx = part.ctx.get();
                k_[i] = ggml_new_tensor_2d(ctx, of_ggml, hparams.n_embd_k(il), n_cells);
                v_[i] = ggml_new_tensor_2d(ctx, of_ggml, hparams.n_embd_v(il), n_cells);
                ggml_set_name(k_[i], "k_cache");
                ggml_set_name(v_[i], "v_cache");
            }
        }
        part.buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(part.ctx.get(), buffer_type));
        if (!part.buffer) {
            count_freed_buffers();  // of the devices before
            fail(ErrorKind::limit,
                 "no memory for the KV cache of {} sequences of {} tokens in {} ({} MiB in all, "
                 "not enough in {}): ask for a smaller context (--ctx)",
                 n_slots_, n_ctx_, kv_type_name(type),
                 kv_cache_bytes(hparams, type, n_ctx_, n_slots_) / (1024 * 1024),
                 ggml_backend_buft_name(buffer_type));
        }
        advise_huge_pages(part.buffer.get());
        parts_.push_back(std::move(part));
    }
    for (int il = 0; il < hparams.n_layers; ++il) {
        const auto i = static_cast<size_t>(il);
        if (hparams.has_keys(il)) {
            owners_.push_back(il);
        } else {
            const auto source = static_cast<size_t>(hparams.layers[i].kv_layer);
            k_[i] = k_[source];
            v_[i] = v_[source];
        }
    }
}

int64_t KvCache::bytes() const {
    size_t bytes = 0;
    for (const Part &part : parts_) {
        bytes += ggml_backend_buffer_get_size(part.buffer.get());
    }
    return static_cast<int64_t>(bytes);
}

bool KvCache::is_on_host(int il) const {
    return ggml_backend_buffer_is_host(k_[static_cast<size_t>(il)]->buffer);
}

// Cells past a sequence's end are masked, but a masked NaN would still be one.
void KvCache::open_cells(int slot, int64_t n) {
    int64_t &n_open = n_open_[static_cast<size_t>(slot)];
    if (n <= n_open) {
        return;
    }
    for (const int il : owners_) {
        for (ggml_tensor *tensor : {k_[static_cast<size_t>(il)], v_[static_cast<size_t>(il)]}) {
            ggml_backend_tensor_memset(tensor, 0,
                                       tensor->nb[1] * static_cast<size_t>(cell(slot, n_open)),
                                       tensor->nb[1] * static_cast<size_t>(n - n_open));
        }
    }
    n_open = n;
}

void KvCache::close_cells(int slot, int64_t first) {
    int64_t &n_open = n_open_[static_cast<size_t>(slot)];
    n_open = std::min(n_open, first);
}

bool KvCache::is_finite(int il, int slot, int64_t first, int64_t n) const {
    std::vector<uint8_t> copy;
    for (const ggml_tensor *tensor : {k_[il], v_[il]}) {
        const size_t at = tensor->nb[1] * static_cast<size_t>(cell(slot, first));
        const auto n_elements = static_cast<size_t>(tensor->ne[0] * n);
        const void *data = static_cast<const char *>(tensor->data) + at;
        if (!is_on_host(il)) {
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

// Within a layer's device: nothing comes by the host.
void KvCache::copy_cells(int from_slot, int to_slot, int64_t n, int end_layer) {
    open_cells(to_slot, n);
    for (const int il : owners_) {
        if (n == 0 || il >= end_layer) {
            return;
        }
        for (ggml_tensor *tensor : {k_[il], v_[il]}) {
            const ggml_context_ptr ctx(ggml_init({ggml_tensor_overhead() * 2, nullptr, true}));
            const auto view_cells = [&](int slot) {
                ggml_tensor *cells =
                    ggml_view_2d(ctx.get(), tensor, tensor->ne[0], n, tensor->nb[1],
                                 tensor->nb[1] * static_cast<size_t>(cell(slot, 0)));
                CHECK(ggml_backend_view_init(cells) == GGML_STATUS_SUCCESS);
                return cells;
            };
            const ggml_tensor *from = view_cells(from_slot);
            ggml_backend_tensor_copy(from, view_cells(to_slot));
        }
    }
}

}  // namespace orthorank
