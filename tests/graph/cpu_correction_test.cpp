// The update of rows that were left out beside sums in double precision, for every level that this
// processor has; whatever the shape, the threads and the rows beside.
#include "graph/cpu_correction.h"

#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "graph/backends.h"
#include "support/compare.h"
#include "support/cpu_backend.h"

namespace orthorank::test {
namespace {

constexpr float k_eps = 1e-5f;
constexpr int64_t k_n_hidden = 700;

struct Shape {
    int64_t n_embd;
    int64_t rank;
    int64_t n_ids;
    ggml_type type;
};

constexpr Shape k_shapes[] = {{576, 64, 431, GGML_TYPE_F16}, {576, 64, 5, GGML_TYPE_F32},
                              {48, 1, 1, GGML_TYPE_F16},     {16, 17, 7, GGML_TYPE_F32},
                              {80, 33, 6, GGML_TYPE_F16},    {208, 0, 300, GGML_TYPE_F16},
                              {144, 70, 193, GGML_TYPE_F16}};

class Updated {
 public:
    explicit Updated(const Shape &shape)
        : shape_(shape),
          backend_(cpu_backend()),
          inputs_(ggml_init({1 << 16, nullptr, true})),
          graphs_(ggml_init({1 << 20, nullptr, true})) {
        ggml_context *ctx = inputs_.get();
        hidden_ = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, shape.n_embd, k_n_hidden);
        ids_ = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, shape.n_ids);
        norm_ = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, shape.n_embd);
        correction_.bias = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, shape.n_embd);
        if (shape.rank > 0) {
            correction_.down = ggml_new_tensor_2d(ctx, shape.type, shape.n_embd, shape.rank);
            correction_.up = ggml_new_tensor_2d(ctx, shape.type, shape.rank, shape.n_embd);
        }
        buffer_.reset(ggml_backend_alloc_ctx_tensors(ctx, backend_.get()));
        for (ggml_tensor *tensor : {norm_, correction_.bias, correction_.down, correction_.up}) {
            if (tensor != nullptr) {
                fill(tensor);
            }
        }
        std::vector<int32_t> all(static_cast<size_t>(k_n_hidden));
        std::iota(all.begin(), all.end(), 0);
        std::shuffle(all.begin(), all.end(), random_);
        std::copy_n(all.begin(), shape.n_ids, static_cast<int32_t *>(ids_->data));
        std::generate_n(std::back_inserter(before_), ggml_nelements(hidden_),
                        [&] { return normal_(random_); });
        before_[3] = 24000.0f;  // a massive activation
    }

    std::vector<float> ours(CpuLevel level, int n_threads, int64_t n_ids) {
        std::copy(before_.begin(), before_.end(), static_cast<float *>(hidden_->data));
        ggml_tensor *ids = ggml_view_1d(graphs_.get(), ids_, n_ids, 0);
        ggml_cgraph *graph = ggml_new_graph_custom(graphs_.get(), 16, false);
        ggml_build_forward_expand(
            graph, cpu_correction(graphs_.get(), level, hidden_, ids, norm_, k_eps, correction_));
        const ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        set_threads(backend_.get(), n_threads);
        EXPECT_EQ(ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        const auto *data = static_cast<const float *>(hidden_->data);
        return {data, data + ggml_nelements(hidden_)};
    }

    std::vector<float> exact() const {
        std::vector<float> after = before_;
        for (int64_t i = 0; i < shape_.n_ids; ++i) {
            update(after.data() + static_cast<const int32_t *>(ids_->data)[i] * shape_.n_embd);
        }
        return after;
    }
    const std::vector<float> &before() const { return before_; }
    const CorrectionTensors &correction() const { return correction_; }

 private:
    static double value(const ggml_tensor *tensor, int64_t i) {
        return tensor->type == GGML_TYPE_F16
                   ? static_cast<double>(
                         ggml_fp16_to_fp32(static_cast<const ggml_fp16_t *>(tensor->data)[i]))
                   : static_cast<double>(static_cast<const float *>(tensor->data)[i]);
    }

    void update(float *h) const {
        const int64_t n = shape_.n_embd;
        double squares = 0;
        for (int64_t k = 0; k < n; ++k) {
            squares += static_cast<double>(h[k]) * static_cast<double>(h[k]);
        }
        const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + double{k_eps});
        std::vector<double> sums(static_cast<size_t>(n));
        for (int64_t r = 0; r < shape_.rank; ++r) {
            double low = 0;
            for (int64_t k = 0; k < n; ++k) {
                low += value(correction_.down, r * n + k) * value(norm_, k) * scale *
                       static_cast<double>(h[k]);
            }
            for (int64_t k = 0; k < n; ++k) {
                sums[static_cast<size_t>(k)] += low * value(correction_.up, k * shape_.rank + r);
            }
        }
        for (int64_t k = 0; k < n; ++k) {
            h[k] = static_cast<float>(static_cast<double>(h[k]) + value(correction_.bias, k) +
                                      sums[static_cast<size_t>(k)]);
        }
    }

    void fill(ggml_tensor *tensor) {
        for (int64_t i = 0; i < ggml_nelements(tensor); ++i) {
            const float x = normal_(random_);
            if (tensor->type == GGML_TYPE_F16) {
                static_cast<ggml_fp16_t *>(tensor->data)[i] = ggml_fp32_to_fp16(x);
            } else {
                static_cast<float *>(tensor->data)[i] = x;
            }
        }
    }

    Shape shape_;
    std::mt19937 random_{3};
    std::normal_distribution<float> normal_;
    ggml_backend_ptr backend_;
    ggml_context_ptr inputs_;
    ggml_context_ptr graphs_;
    ggml_tensor *hidden_;
    ggml_tensor *ids_;
    ggml_tensor *norm_;
    CorrectionTensors correction_;
    ggml_backend_buffer_ptr buffer_;
    std::vector<float> before_;
};

class CpuCorrection : public testing::TestWithParam<CpuLevel> {
 protected:
    void SetUp() override {
        if (GetParam() > best_cpu_level()) {
            GTEST_SKIP() << "this processor has no " << name_of(GetParam());
        }
    }
};

TEST_P(CpuCorrection, IsTheExactUpdateOfTheListedRowsAlone) {
    for (const Shape &shape : k_shapes) {
        Updated updated(shape);
        ASSERT_TRUE(fits_cpu_correction(updated.correction()));
        const std::vector<float> exact = updated.exact();
        for (int n_threads : {1, 2, 7}) {
            const std::vector<float> found = updated.ours(GetParam(), n_threads, shape.n_ids);
            EXPECT_TRUE(nmse_below(1e-11, found, exact)) << shape.n_embd << ", " << shape.rank;
            for (size_t i = 0; i < found.size(); ++i) {
                ASSERT_EQ(found[i] == updated.before()[i], exact[i] == updated.before()[i]) << i;
            }
        }
    }
}

// What is added to a rank of 17 was multiplied with what an earlier correction left in memory.
TEST_P(CpuCorrection, DoesNotReadWhatAnotherLeft) {
    Updated infinite({208, 64, 100, GGML_TYPE_F32});
    const CorrectionTensors &left = infinite.correction();
    for (ggml_tensor *matrix : {left.down, left.up}) {
        std::fill_n(static_cast<float *>(matrix->data), ggml_nelements(matrix), INFINITY);
    }
    infinite.ours(GetParam(), 1, 100);
    Updated updated({208, 17, 100, GGML_TYPE_F32});
    EXPECT_TRUE(nmse_below(1e-11, updated.ours(GetParam(), 1, 100), updated.exact()));
}

TEST_P(CpuCorrection, OfARowDoesNotDependOnThoseBeside) {
    const Shape shape = {144, 70, 193, GGML_TYPE_F16};
    Updated updated(shape);
    const std::vector<float> all = updated.ours(GetParam(), 2, shape.n_ids);
    std::vector<float> few = updated.ours(GetParam(), 1, 4);
    for (size_t i = 0; i < few.size(); ++i) {
        ASSERT_TRUE(few[i] == all[i] || few[i] == updated.before()[i]);
    }
    EXPECT_FALSE(same_bits(few, updated.before()));
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuCorrection, testing::ValuesIn(all_cpu_levels()),
                         [](const auto &test) {
                             std::string name = name_of(test.param);
                             std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
                             return name;
                         });

}  // namespace
}  // namespace orthorank::test
