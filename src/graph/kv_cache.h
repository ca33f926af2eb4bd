// The keys and values of all sequences of an engine, in buffers of the computing device: for each
// layer one tensor of K and one of V, [n_embd_k or n_embd_v, n_ctx * n_slots]. A sequence owns a
// slot, the rows slot * n_ctx .. (slot + 1) * n_ctx - 1; the row of a position is its cell. Which
// cells are valid is known by the sequences, not here. One thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml-cpp.h"
#include "graph/kv_type.h"
#include "model/hparams.h"

namespace orthorank {

// Its name in that sense.
const char *kv_type_name(KvType type);

class KvCache {
 public:
    // n_ctx is rounded up to k_kv_padding. Throws Error{limit} when the buffer cannot be
    // allocated, Error{usage} when the heads do not fit the type (Q8_0 needs multiples of 32).
    KvCache(const Hparams &hparams, ggml_backend_buffer_type_t buffer_type, KvType type, int n_ctx,
            int n_slots);

    int n_ctx() const { return n_ctx_; }
    int n_slots() const { return n_slots_; }
    ggml_tensor *k(int il) const { return k_[il]; }
    ggml_tensor *v(int il) const { return v_[il]; }
    int64_t bytes() const;
    // The row of a position of a slot.
    int64_t cell(int slot, int64_t position) const {
        return static_cast<int64_t>(slot) * n_ctx_ + position;
    }
    // Copies the cells of positions 0..n-1 of one slot to another, layers 0..end_layer-1.
    void copy_cells(int from_slot, int to_slot, int64_t n, int end_layer);

 private:
    int n_ctx_;
    int n_slots_;
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
    std::vector<ggml_tensor *> k_;
    std::vector<ggml_tensor *> v_;
};

// Attention looks at a multiple of this many cells, so that graphs are reused while a sequence
// grows and results agree with libllama's to the bit.
constexpr int k_kv_padding = 256;

}  // namespace orthorank
