// One attention mask for all prompts: a table whose row r hides what comes after column origin + r.
// Rows of consecutive positions from p on look at it shifted, from column origin - p on, so that no
// mask is written or copied per graph. Owned by an engine; for devices whose memory the host
// writes.
#pragma once

#include <cstdint>

#include "ggml-cpp.h"

namespace orthorank {

class CausalMask {
 public:
    // Makes room for n_rows rows at positions up to n_positions; what view() gave before is void if
    // it had to grow. Throws Error{limit} when memory is short.
    void reserve(ggml_backend_buffer_type_t buffer_type, int n_rows, int64_t n_positions);
    // The mask of n_rows rows at positions first .. first + n_rows - 1: F16 [more than first +
    // n_rows, n_rows], contiguous.
    ggml_tensor *view(ggml_context *ctx, int64_t first, int n_rows) const;
    int64_t bytes() const;

 private:
    int n_rows_ = 0;
    int64_t origin_ = 0;
    int64_t row_length_ = 0;
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *table_ = nullptr;
};

// Pieces of fewer rows get masks of their own: their graphs are kept, whatever the positions.
constexpr int k_min_causal_rows = 65;

}  // namespace orthorank
