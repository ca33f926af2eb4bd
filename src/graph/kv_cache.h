// The keys and values of all sequences of an engine, each layer's in a buffer of its device: for
// each layer one tensor of K and one of V, [n_embd_k or n_embd_v, n_ctx * n_slots]; a layer that
// reads an earlier one's has these. A sequence owns a slot, the rows slot * n_ctx .. (slot + 1) *
// n_ctx - 1; the row of a position is its cell. Which cells are valid is known by the sequences,
// not here. In main memory a cell takes memory once it is opened, so a long context costs what is
// used of it. One thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml-cpp.h"
#include "graph/kv_type.h"
#include "model/hparams.h"

namespace orthorank {

class KvCache {
 public:
    // by_layer: the buffer type of each layer. n_ctx is rounded up to k_kv_padding. Throws
    // Error{limit} when a buffer cannot be allocated, and as check_kv_type does.
    KvCache(const Hparams &hparams, const std::vector<ggml_backend_buffer_type_t> &by_layer,
            KvType type, int n_ctx, int n_slots);

    int n_ctx() const { return n_ctx_; }
    int n_slots() const { return n_slots_; }
    ggml_tensor *k(int il) const { return k_[il]; }
    ggml_tensor *v(int il) const { return v_[il]; }
    // When every cell is open.
    int64_t bytes() const;
    // The row of a position of a slot.
    int64_t cell(int slot, int64_t position) const {
        return static_cast<int64_t>(slot) * n_ctx_ + position;
    }
    // Makes cells 0..n-1 of a slot ready to be looked at: those that never were hold zeros.
    void open_cells(int slot, int64_t n);
    // Cells from `first` on are as never opened.
    void close_cells(int slot, int64_t first);
    // Whether keys and values of n cells from `first` on are numbers: what passes the type's
    // largest has become an infinity.
    bool is_finite(int il, int slot, int64_t first, int64_t n) const;
    // Can the host read this layer where it is?
    bool is_on_host(int il) const;
    // Copies the cells of positions 0..n-1 of one slot to another, layers 0..end_layer-1.
    void copy_cells(int from_slot, int to_slot, int64_t n, int end_layer);

 private:
    // The layers of one buffer type.
    struct Part {
        ggml_context_ptr ctx;
        ggml_backend_buffer_ptr buffer;
    };

    int n_ctx_;
    int n_slots_;
    std::vector<Part> parts_;
    std::vector<ggml_tensor *> k_;
    std::vector<ggml_tensor *> v_;
    std::vector<int> owners_;      // layers that have their own
    std::vector<int64_t> n_open_;  // by slot
};

// Attention looks at a multiple of this many cells, so that graphs are reused while a sequence
// grows and results agree with libllama's to the bit.
constexpr int k_kv_padding = 256;

}  // namespace orthorank
