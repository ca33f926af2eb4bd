// Our attention beside ggml's flash attention: the same bits at the width that ggml was compiled
// for, close at the others, whatever the mask, the heads and the threads.
#include "graph/cpu_attention.h"

#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "graph/backends.h"
#include "support/compare.h"
#include "support/cpu_backend.h"

namespace orthorank::test {
namespace {

using IsVisible = std::function<bool(int row, int key)>;

struct Shape {
    std::string name;
    int head_dim_k = 64;
    int head_dim_v = 64;
    int n_head = 6;
    int n_head_kv = 2;
    int n_rows = 100;
    int n_kv = 256;
    ggml_type kv_type = GGML_TYPE_F16;
    IsVisible is_visible = [](int row, int key) { return key <= row + 156; };
    bool has_sinks = false;
};

std::ostream &operator<<(std::ostream &out, const Shape &shape) {
    return out << shape.name;
}

bool is_in_window(int row, int key) {
    return key <= 2 * row && key > 2 * row - 40;
}

std::vector<Shape> shapes() {
    return {
        {.name = "chunk"},
        {.name = "first_chunk", .is_visible = [](int row, int key) { return key <= row; }},
        {.name = "selected_rows",
         .is_visible = [](int row, int key) { return key <= 2 * row + 3; }},
        {.name = "window", .is_visible = is_in_window},
        {.name = "rows_that_see_nothing",
         .is_visible = [](int row, int key) { return row % 3 != 0 && row > 35 && key == row; }},
        {.name = "holes", .is_visible = [](int row, int key) { return (7 * row + key) % 5 == 0; }},
        {.name = "everything", .is_visible = [](int, int) { return true; }},
        {.name = "one_head", .n_head = 1, .n_head_kv = 1, .n_rows = 64},
        {.name = "wide_heads",
         .head_dim_k = 128,
         .head_dim_v = 128,
         .n_head = 4,
         .n_rows = 513,
         .n_kv = 704,
         .is_visible = [](int row, int key) { return key <= row + 191; }},
        {.name = "odd_heads", .head_dim_k = 80, .head_dim_v = 48},
        {.name = "widest_heads", .head_dim_k = 256, .head_dim_v = 272, .n_head = 2},
        {.name = "f32", .kv_type = GGML_TYPE_F32},
        {.name = "sinks", .has_sinks = true},
        {.name = "sinks_of_a_window", .is_visible = is_in_window, .has_sinks = true},
    };
}

// The rows of a batch and the cells of a slot begin somewhere.
constexpr int k_first_row = 3;
constexpr int k_first_cell = 64;

class CpuAttention : public testing::TestWithParam<Shape> {
 protected:
    CpuAttention() : CpuAttention(GetParam()) {}
    explicit CpuAttention(const Shape &shape)
        : backend_(cpu_backend()),
          inputs_(ggml_init({1 << 16, nullptr, true})),
          graphs_(ggml_init({1 << 20, nullptr, true})),
          shape_(shape) {
        ggml_tensor *q = ggml_new_tensor_3d(inputs_.get(), GGML_TYPE_F32, shape.head_dim_k,
                                            shape.n_head, k_first_row + shape.n_rows);
        ggml_tensor *k = cache(shape.head_dim_k);
        ggml_tensor *v = cache(shape.head_dim_v);
        mask_ = ggml_new_tensor_2d(inputs_.get(), GGML_TYPE_F16, shape.n_kv, shape.n_rows);
        if (shape.has_sinks) {
            sinks_ = ggml_new_tensor_1d(inputs_.get(), GGML_TYPE_F32, shape.n_head);
        }
        buffer_.reset(ggml_backend_alloc_ctx_tensors(inputs_.get(), backend_.get()));
        for (int head = 0; shape.has_sinks && head < shape.n_head; ++head) {
            // Below all products, among them, above them.
            static_cast<float *>(sinks_->data)[head] = 15.0f * static_cast<float>(head) - 20.0f;
        }
        for (ggml_tensor *tensor : {q, k, v}) {
            fill(tensor);
        }
        for (int row = 0; row < shape.n_rows; ++row) {
            for (int key = 0; key < shape.n_kv; ++key) {
                static_cast<ggml_fp16_t *>(mask_->data)[row * shape.n_kv + key] =
                    ggml_fp32_to_fp16(shape.is_visible(row, key) ? 0.0f : -INFINITY);
            }
        }
        q_ = ggml_view_3d(graphs_.get(), q, q->ne[0], q->ne[1], shape.n_rows, q->nb[1], q->nb[2],
                          q->nb[2] * k_first_row);
        k_ = heads(k, shape.head_dim_k);
        v_ = heads(v, shape.head_dim_v);
    }

    ggml_tensor *cache(int head_dim) {
        return ggml_new_tensor_2d(inputs_.get(), shape_.kv_type, head_dim * shape_.n_head_kv,
                                  k_first_cell + shape_.n_kv);
    }
    ggml_tensor *heads(ggml_tensor *of, int head_dim) {
        return ggml_view_3d(graphs_.get(), of, head_dim, shape_.n_kv, shape_.n_head_kv, of->nb[1],
                            ggml_row_size(of->type, head_dim), of->nb[1] * k_first_cell);
    }
    void fill(ggml_tensor *tensor) {
        std::normal_distribution<float> normal(0.0f, 2.0f);
        for (int64_t i = 0; i < ggml_nelements(tensor); ++i) {
            const float x = normal(random_);
            if (tensor->type == GGML_TYPE_F32) {
                static_cast<float *>(tensor->data)[i] = x;
            } else {
                static_cast<ggml_fp16_t *>(tensor->data)[i] = ggml_fp32_to_fp16(x);
            }
        }
    }

    bool sees_a_key(int row) const {
        for (int key = 0; key < shape_.n_kv; ++key) {
            if (shape_.is_visible(row, key)) {
                return true;
            }
        }
        return false;
    }

    ggml_tensor *ggmls() {
        ggml_tensor *o = ggml_flash_attn_ext(
            graphs_.get(), ggml_permute(graphs_.get(), q_, 0, 2, 1, 3), k_, v_, mask_,
            1.0f / std::sqrt(static_cast<float>(shape_.head_dim_k)), 0.0f, 0.0f);
        ggml_flash_attn_ext_add_sinks(o, sinks_);
        ggml_prec_set_acc(o, GGML_PREC_F32);
        return o;
    }
    ggml_tensor *ours(int n_lanes) {
        return cpu_attention(graphs_.get(), q_, k_, v_, mask_, n_lanes, 0.0f, sinks_);
    }

    // The graph of a node, for several runs with these numbers of threads; the last one's result.
    std::vector<float> run(ggml_tensor *node, const std::vector<int> &n_threads) {
        ggml_cgraph *graph = ggml_new_graph(graphs_.get());
        ggml_build_forward_expand(graph, node);
        ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        for (int n : n_threads) {
            std::fill_n(static_cast<float *>(node->data), ggml_nelements(node), NAN);
            set_threads(backend_.get(), n);
            EXPECT_EQ(ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        }
        const auto *data = static_cast<const float *>(node->data);
        return {data, data + ggml_nelements(node)};
    }

    std::mt19937 random_{7};
    ggml_backend_ptr backend_;
    ggml_context_ptr inputs_;
    ggml_context_ptr graphs_;
    ggml_backend_buffer_ptr buffer_;
    Shape shape_;
    ggml_tensor *q_ = nullptr;
    ggml_tensor *k_ = nullptr;
    ggml_tensor *v_ = nullptr;
    ggml_tensor *mask_ = nullptr;
    ggml_tensor *sinks_ = nullptr;
};

// Somebody's own llama.cpp may be compiled for less than this processor.
int lanes_of_ggml() {
    if (ggml_has("AVX512")) {
        return 16;
    }
    return ggml_has("AVX2") && ggml_has("FMA") ? 8 : 0;
}

// Numbers that overflowed show, as they do in ggml: they must not look like rows without keys.
TEST_P(CpuAttention, OverflowsAreNotHidden) {
    size_t row = 0;  // the first that sees a key
    while (!sees_a_key(static_cast<int>(row))) {
        ++row;
    }
    reinterpret_cast<float *>(static_cast<char *>(q_->data) + row * q_->nb[2])[1] = NAN;
    const size_t n = size_t(shape_.n_head) * size_t(shape_.head_dim_v);
    for (int n_lanes : {8, widest_lanes()}) {
        const std::vector<float> found = run(ours(n_lanes), {1});
        EXPECT_TRUE(std::isnan(found[row * n])) << n_lanes;
        EXPECT_FALSE(std::isnan(found[(row + 1) * n])) << n_lanes;
    }
}

TEST_P(CpuAttention, IsGgmlsToTheBit) {
    ASSERT_TRUE(fits_cpu_attention(q_, k_, v_));
    const std::vector<float> expected = run(ggmls(), {1});
    const std::vector<float> found = run(ours(widest_lanes()), {1});
    if (widest_lanes() == lanes_of_ggml()) {
        EXPECT_TRUE(same_bits(found, expected));
    }
    EXPECT_TRUE(nmse_below(1e-12, found, expected));
    EXPECT_TRUE(nmse_below(1e-12, run(ours(8), {1}), expected));
}

TEST_P(CpuAttention, GraphsRunAgainWithOtherNumbersOfThreads) {
    const std::vector<float> expected = run(ours(widest_lanes()), {1});
    EXPECT_TRUE(same_bits(run(ours(widest_lanes()), {2, 1, 2, 4, 3}), expected));
}

// There is nothing to compare on a processor without a kernel.
std::vector<Shape> shapes_here() {
    return widest_lanes() > 0 ? shapes() : std::vector<Shape>();
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CpuAttention);
INSTANTIATE_TEST_SUITE_P(Shapes, CpuAttention, testing::ValuesIn(shapes_here()),
                         [](const auto &test) { return test.param.name; });

struct Refused : CpuAttention {
    Refused() : CpuAttention({}) {}

    ggml_tensor *q(int head_dim, int n_rows) {
        return ggml_new_tensor_3d(graphs_.get(), GGML_TYPE_F32, head_dim, 6, n_rows);
    }
    // In main memory without being computed.
    ggml_tensor *kv(ggml_type type, int head_dim, int n_kv) {
        ggml_tensor *tensor = ggml_new_tensor_3d(graphs_.get(), type, head_dim, n_kv, 2);
        tensor->buffer = buffer_.get();
        return tensor;
    }
};

TEST_F(Refused, WhatGgmlSumsOtherwiseOrTilesDoNotDivide) {
    const auto fits = [&](int n_rows, ggml_type type, int dim_k, int dim_v, int n_kv) {
        return fits_cpu_attention(q(dim_k, n_rows), kv(type, dim_k, n_kv), kv(type, dim_v, n_kv));
    };
    EXPECT_EQ(fits(64, GGML_TYPE_F16, 64, 64, 256), widest_lanes() > 0);
    EXPECT_FALSE(fits(63, GGML_TYPE_F16, 64, 64, 256));
    EXPECT_FALSE(fits(64, GGML_TYPE_Q8_0, 64, 64, 256));
    EXPECT_FALSE(fits(64, GGML_TYPE_F16, 40, 64, 256));
    EXPECT_FALSE(fits(64, GGML_TYPE_F16, 272, 64, 256));
    EXPECT_FALSE(fits(64, GGML_TYPE_F16, 64, 40, 256));
    EXPECT_FALSE(fits(64, GGML_TYPE_F16, 64, 64, 250));
    EXPECT_FALSE(
        fits_cpu_attention(q(64, 64), kv(GGML_TYPE_F16, 64, 256), kv(GGML_TYPE_F32, 64, 256)));
    ggml_tensor *elsewhere = kv(GGML_TYPE_F16, 64, 256);
    elsewhere->buffer = nullptr;
    EXPECT_FALSE(fits_cpu_attention(q(64, 64), elsewhere, elsewhere));
}

}  // namespace
}  // namespace orthorank::test
