// Attention of a few rows beside sums in double precision: close whatever the heads, the mask and
// the level, the same bits for any threads, and for a row of a batch as alone.
#include "graph/cpu_row_attention.h"

#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "graph/backends.h"
#include "support/compare.h"
#include "support/cpu_backend.h"

namespace orthorank::test {
namespace {

struct Shape {
    const char *name;
    int head_dim_k = 64;
    int head_dim_v = 64;
    int n_head = 9;
    int n_head_kv = 3;
    int n_kv = 256;
    ggml_type kv_type = GGML_TYPE_F16;
    int n_visible = 200;  // of row 0; of others one more each
    int hole = 0;         // every so manieth key is hidden; 0: none
    bool has_sinks = false;
};

std::ostream &operator<<(std::ostream &out, const Shape &shape) {
    return out << shape.name;
}

constexpr Shape k_shapes[] = {
    {.name = "small_model"},
    {.name = "one_key", .n_visible = 1},
    {.name = "sees_nothing", .n_visible = -2},
    {.name = "many_parts", .n_kv = 768, .n_visible = 700},
    {.name = "holes", .hole = 3},
    {.name = "one_head", .n_head = 1, .n_head_kv = 1},
    {.name = "seven_for_one", .head_dim_k = 128, .head_dim_v = 128, .n_head = 14, .n_head_kv = 2},
    {.name = "odd_heads", .head_dim_k = 80, .head_dim_v = 48, .n_head = 4, .n_head_kv = 2},
    {.name = "odd_keys", .n_kv = 77, .n_visible = 70},
    {.name = "f32", .kv_type = GGML_TYPE_F32},
    {.name = "sinks", .n_kv = 768, .n_visible = 700, .has_sinks = true},
    {.name = "sinks_alone", .n_visible = -2, .has_sinks = true},
};

// Heads of 512, which the kernel of many rows does not take, were computed by this one in chunks of
// 512 rows too: gigabytes of parts where the context was long.
TEST(FewRows, AreThoseWhosePartsAreSmall) {
    const ggml_context_ptr ctx(ggml_init({1 << 20, nullptr, true}));
    const auto are_few = [&](int64_t head_dim, int64_t n_head, int64_t n_rows, int64_t n_kv) {
        ggml_tensor *q = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, head_dim, n_head, n_rows);
        ggml_tensor *k = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F16, head_dim, n_kv, 1);
        return are_few_rows(q, k, k);
    };
    EXPECT_TRUE(are_few(512, 8, 512, 512));
    EXPECT_FALSE(are_few(512, 8, 512, 8192));
    EXPECT_TRUE(are_few(512, 8, 1, 131072));
    EXPECT_TRUE(are_few(128, 32, 63, 8192));
    EXPECT_FALSE(are_few(128, 32, 63, 131072));
}

constexpr int k_n_rows = 5;
constexpr int k_n_slots = 3;

class CpuRowAttention : public testing::TestWithParam<Shape> {
 protected:
    void SetUp() override {
        if (best_cpu_level() == CpuLevel::none) {
            GTEST_SKIP() << "this processor has no level";
        }
        ctx_.reset(ggml_init({1 << 20, nullptr, true}));
        const Shape &s = GetParam();
        q_ = ggml_new_tensor_3d(ctx_.get(), GGML_TYPE_F32, s.head_dim_k, s.n_head, k_n_rows);
        k_ = cache(s.head_dim_k);
        v_ = cache(s.head_dim_v);
        mask_ = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F16, s.n_kv, k_n_rows);
        slot_mask_ = ggml_new_tensor_4d(ctx_.get(), GGML_TYPE_F16, s.n_kv, 1, 1, k_n_slots);
        slots_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_I32, k_n_rows);
        if (s.has_sinks) {
            sinks_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, s.n_head);
        }
        buffer_.reset(
            ggml_backend_alloc_ctx_tensors_from_buft(ctx_.get(), ggml_backend_cpu_buffer_type()));
        std::mt19937 random(11);
        std::normal_distribution<float> normal(0.0f, 1.5f);
        for (ggml_tensor *tensor : {q_, k_, v_}) {
            for (int64_t i = 0; i < ggml_nelements(tensor); ++i) {
                set(tensor, i, normal(random));
            }
        }
        for (int head = 0; s.has_sinks && head < s.n_head; ++head) {
            set(sinks_, head, sink(head));
        }
        for (int64_t key = 0; key < s.n_kv; ++key) {
            for (int row = 0; row < k_n_rows; ++row) {
                set(mask_, row * s.n_kv + key, sees(row, key) ? 0.0f : -INFINITY);
            }
            for (int slot = 0; slot < k_n_slots; ++slot) {
                set(slot_mask_, slot * s.n_kv + key, sees(slot, key) ? 0.0f : -INFINITY);
            }
        }
        for (int row = 0; row < k_n_rows; ++row) {
            static_cast<int32_t *>(slots_->data)[row] = slot_of(row);
        }
    }

    static float sink(int head) { return 3.0f * static_cast<float>(head) - 6.0f; }
    static int slot_of(int row) { return (row + 1) % k_n_slots; }
    static bool sees(int row, int64_t key) {
        const Shape &s = GetParam();
        return key < s.n_visible + row && (s.hole == 0 || key % s.hole != 0);
    }
    ggml_tensor *cache(int head_dim) {
        const Shape &s = GetParam();
        ggml_tensor *all =
            ggml_new_tensor_3d(ctx_.get(), s.kv_type, head_dim * s.n_head_kv, s.n_kv, k_n_slots);
        return ggml_view_4d(ctx_.get(), all, head_dim, s.n_kv, s.n_head_kv, k_n_slots, all->nb[1],
                            ggml_row_size(s.kv_type, head_dim), all->nb[2], 0);
    }
    static void set(ggml_tensor *tensor, int64_t i, float x) {
        if (tensor->type == GGML_TYPE_F32) {
            static_cast<float *>(tensor->data)[i] = x;
        } else {
            static_cast<ggml_fp16_t *>(tensor->data)[i] = ggml_fp32_to_fp16(x);
        }
    }
    static double number(const ggml_tensor *t, int64_t i, int64_t key, int64_t head, int64_t slot) {
        const auto *at = static_cast<const char *>(t->data) + static_cast<size_t>(i) * t->nb[0] +
                         static_cast<size_t>(key) * t->nb[1] +
                         static_cast<size_t>(head) * t->nb[2] +
                         static_cast<size_t>(slot) * t->nb[3];
        return t->type == GGML_TYPE_F32 ? static_cast<double>(*reinterpret_cast<const float *>(at))
                                        : static_cast<double>(ggml_fp16_to_fp32(
                                              *reinterpret_cast<const ggml_fp16_t *>(at)));
    }

    // Of one row that sees what row `as` does, in a slot.
    std::vector<float> exact(int row, int as, int slot) const {
        const Shape &s = GetParam();
        std::vector<float> all;
        for (int head = 0; head < s.n_head; ++head) {
            const int kv_head = head / (s.n_head / s.n_head_kv);
            std::vector<double> sums(static_cast<size_t>(s.head_dim_v), 0.0);
            double total = s.has_sinks ? std::exp(static_cast<double>(sink(head))) : 0.0;
            for (int key = 0; key < s.n_kv; ++key) {
                double score = sees(as, key) ? 0.0 : -INFINITY;
                for (int i = 0; i < s.head_dim_k && sees(as, key); ++i) {
                    score += number(q_, i, head, row, 0) * number(k_, i, key, kv_head, slot) /
                             std::sqrt(static_cast<double>(s.head_dim_k));
                }
                const double weight = std::exp(score);
                total += weight;
                for (int i = 0; i < s.head_dim_v; ++i) {
                    sums[static_cast<size_t>(i)] += weight * number(v_, i, key, kv_head, slot);
                }
            }
            for (double sum : sums) {
                all.push_back(total == 0 ? 0.0f : static_cast<float>(sum / total));
            }
        }
        return all;
    }

    std::vector<float> run(ggml_tensor *result, const std::vector<int> &n_threads = {1}) {
        ggml_cgraph *graph = ggml_new_graph(ctx_.get());
        ggml_build_forward_expand(graph, result);
        const ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        const ggml_backend_ptr backend(cpu_backend());
        for (int n : n_threads) {
            std::fill_n(static_cast<float *>(result->data), ggml_nelements(result), NAN);
            set_threads(backend.get(), n);
            EXPECT_EQ(ggml_backend_graph_compute(backend.get(), graph), GGML_STATUS_SUCCESS);
        }
        const auto *data = static_cast<const float *>(result->data);
        return {data, data + ggml_nelements(result)};
    }
    ggml_tensor *together(CpuLevel level) {
        return cpu_row_attention(ctx_.get(), level, q_, k_, v_, mask_, nullptr, 0.0f, sinks_);
    }
    ggml_tensor *by_slots(CpuLevel level) {
        return cpu_row_attention(ctx_.get(), level, q_, k_, v_, slot_mask_, slots_, 0.0f, sinks_);
    }
    static bool has(CpuLevel level) { return level <= best_cpu_level(); }
    static void expect_near(const std::vector<float> &found, const std::vector<float> &expected) {
        ASSERT_EQ(found.size(), expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
            ASSERT_NEAR(found[i], expected[i], 2e-5) << i;
        }
    }

    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *q_ = nullptr, *k_ = nullptr, *v_ = nullptr;
    ggml_tensor *mask_ = nullptr, *slot_mask_ = nullptr, *slots_ = nullptr;
    ggml_tensor *sinks_ = nullptr;
};

TEST_P(CpuRowAttention, IsExactUpToRounding) {
    std::vector<float> of_rows, of_slots;
    for (int row = 0; row < k_n_rows; ++row) {
        const std::vector<float> a = exact(row, row, 0);
        const std::vector<float> b = exact(row, slot_of(row), slot_of(row));
        of_rows.insert(of_rows.end(), a.begin(), a.end());
        of_slots.insert(of_slots.end(), b.begin(), b.end());
    }
    for (CpuLevel level : {CpuLevel::avx2, CpuLevel::avx512}) {
        if (has(level)) {
            expect_near(run(together(level)), of_rows);
            expect_near(run(by_slots(level)), of_slots);
        }
    }
}

TEST_P(CpuRowAttention, AnyThreadsGiveTheSameBits) {
    for (CpuLevel level : {CpuLevel::avx2, CpuLevel::avx512}) {
        if (has(level)) {
            const std::vector<float> expected = run(by_slots(level));
            EXPECT_TRUE(same_bits(run(by_slots(level), {8}), expected));
            EXPECT_TRUE(same_bits(run(by_slots(level), {2, 5, 1, 3, 2}), expected));
        }
    }
}

TEST_P(CpuRowAttention, ARowOfABatchIsAsAlone) {
    const std::vector<float> all = run(by_slots(best_cpu_level()));
    const auto n = static_cast<ptrdiff_t>(GetParam().head_dim_v * GetParam().n_head);
    for (int row = 0; row < k_n_rows; ++row) {
        ggml_tensor *q = ggml_view_3d(ctx_.get(), q_, q_->ne[0], q_->ne[1], 1, q_->nb[1], q_->nb[2],
                                      q_->nb[2] * static_cast<size_t>(row));
        ggml_tensor *slot =
            ggml_view_1d(ctx_.get(), slots_, 1, sizeof(int32_t) * static_cast<size_t>(row));
        const std::vector<float> alone = run(cpu_row_attention(ctx_.get(), best_cpu_level(), q, k_,
                                                               v_, slot_mask_, slot, 0.0f, sinks_));
        EXPECT_TRUE(same_bits(
            alone, std::vector<float>(all.begin() + row * n, all.begin() + (row + 1) * n)))
            << row;
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CpuRowAttention, testing::ValuesIn(k_shapes),
                         [](const auto &test) { return std::string(test.param.name); });

}  // namespace
}  // namespace orthorank::test
