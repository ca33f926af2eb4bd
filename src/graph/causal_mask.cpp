#include "graph/causal_mask.h"

#include <ggml.h>

#include <algorithm>

#include "base/error.h"
#include "graph/kv_cache.h"

namespace orthorank {

namespace {

constexpr uint16_t k_f16_zero = 0x0000;
constexpr uint16_t k_f16_minus_infinity = 0xfc00;
constexpr int64_t k_min_positions = 2048;

}  // namespace

void CausalMask::reserve(ggml_backend_buffer_type_t buffer_type, int n_rows, int64_t n_positions) {
    CHECK(ggml_backend_buft_is_host(buffer_type));
    if (n_rows <= n_rows_ && n_positions <= origin_) {
        return;
    }
    n_rows_ = std::max(n_rows, n_rows_);
    origin_ = std::max({n_positions, origin_, k_min_positions});
    // The widest view ends k_kv_padding columns behind its last row's position.
    row_length_ = origin_ + n_rows_ + k_kv_padding;
    ctx_.reset(ggml_init({ggml_tensor_overhead() * 2, nullptr, true}));
    // The last row's view starts up to `origin` columns late and ends as much beyond the table.
    table_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F16, row_length_ * n_rows_ + origin_);
    buffer_.reset();
    buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(ctx_.get(), buffer_type));
    if (!buffer_) {
        fail(ErrorKind::limit, "no memory for the attention mask of {} positions", origin_);
    }
    auto *values = static_cast<uint16_t *>(table_->data);
    for (int64_t row = 0; row < n_rows_; ++row) {
        uint16_t *first = values + row * row_length_;
        std::fill(first, first + origin_ + row + 1, k_f16_zero);
        std::fill(first + origin_ + row + 1, first + row_length_, k_f16_minus_infinity);
    }
    std::fill(values + row_length_ * n_rows_, values + ggml_nelements(table_),
              k_f16_minus_infinity);
}

ggml_tensor *CausalMask::view(ggml_context *ctx, int64_t first, int n_rows) const {
    CHECK(table_ != nullptr && n_rows <= n_rows_ && first >= 0 && first <= origin_);
    const size_t element = ggml_element_size(table_);
    return ggml_view_2d(ctx, table_, row_length_, n_rows,
                        element * static_cast<size_t>(row_length_),
                        element * static_cast<size_t>(origin_ - first));
}

int64_t CausalMask::bytes() const {
    return buffer_ ? static_cast<int64_t>(ggml_backend_buffer_get_size(buffer_.get())) : 0;
}

}  // namespace orthorank
