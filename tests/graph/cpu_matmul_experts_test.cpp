// Products of experts: for every row the bits of the plain product with its expert, whoever shares
// that expert, and close to ggml's.
#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "graph/backends.h"
#include "graph/cpu_matmul.h"
#include "support/compare.h"
#include "support/cpu_backend.h"

namespace orthorank::test {
namespace {

constexpr int64_t k_n_k = 64;
constexpr int64_t k_n_out = 70;
constexpr int64_t k_n_experts = 5;  // the last one is not used
constexpr int64_t k_n_used = 2;
constexpr int64_t k_n_tokens = 41;

// n_of_token: rows that a token has, one for all its experts or one each.
class Experts {
 public:
    explicit Experts(int64_t n_of_token)
        : backend_(cpu_backend()),
          inputs_(ggml_init({1 << 16, nullptr, true})),
          graphs_(ggml_init({1 << 22, nullptr, true})),
          weights_(ggml_new_tensor_3d(inputs_.get(), GGML_TYPE_Q8_0, k_n_k, k_n_out, k_n_experts)),
          x_(ggml_new_tensor_3d(inputs_.get(), GGML_TYPE_F32, k_n_k, n_of_token, k_n_tokens)),
          ids_(ggml_new_tensor_2d(inputs_.get(), GGML_TYPE_I32, k_n_used, k_n_tokens)),
          buffer_(ggml_backend_alloc_ctx_tensors(inputs_.get(), backend_.get())) {
        std::mt19937 random(3);
        std::normal_distribution<float> normal;
        std::vector<float> w(static_cast<size_t>(ggml_nelements(weights_)));
        std::generate(w.begin(), w.end(), [&] { return normal(random); });
        ggml_quantize_chunk(weights_->type, w.data(), weights_->data, 0, k_n_out * k_n_experts,
                            k_n_k, nullptr);
        std::generate_n(static_cast<float *>(x_->data), ggml_nelements(x_),
                        [&] { return normal(random); });
        for (int32_t token = 0; token < k_n_tokens; ++token) {
            id(token, 0) = token % 3;
            id(token, 1) = 3 - token % 2 * 3 + token % 2 * ((token + 1) % 3);
        }
    }

    int32_t &id(int64_t token, int64_t used) {
        return static_cast<int32_t *>(ids_->data)[token * k_n_used + used];
    }
    std::vector<float> ggmls() {
        return run(ggml_mul_mat_id(graphs_.get(), weights_, x_, ids_), 1);
    }
    std::vector<float> ours(CpuLevel level, int n_threads) {
        return run(CpuMatmul(level).multiply_id(graphs_.get(), weights_, x_, ids_), n_threads);
    }
    // One row with its expert alone.
    std::vector<float> one(CpuLevel level, int64_t token, int64_t used) {
        ggml_tensor *weight = ggml_view_2d(graphs_.get(), weights_, k_n_k, k_n_out, weights_->nb[1],
                                           weights_->nb[2] * static_cast<size_t>(id(token, used)));
        const int64_t row = x_->ne[1] == 1 ? token : token * k_n_used + used;
        ggml_tensor *x = ggml_view_2d(graphs_.get(), x_, k_n_k, 1, x_->nb[1],
                                      x_->nb[1] * static_cast<size_t>(row));
        return run(CpuMatmul(level).multiply(graphs_.get(), weight, x), 1);
    }

 private:
    std::vector<float> run(ggml_tensor *node, int n_threads) {
        ggml_cgraph *graph = ggml_new_graph_custom(graphs_.get(), 16, false);
        ggml_build_forward_expand(graph, node);
        const ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        std::fill_n(static_cast<float *>(node->data), ggml_nelements(node), NAN);
        set_threads(backend_.get(), n_threads);
        EXPECT_EQ(ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        const auto *data = static_cast<const float *>(node->data);
        return {data, data + ggml_nelements(node)};
    }

    ggml_backend_ptr backend_;
    ggml_context_ptr inputs_;
    ggml_context_ptr graphs_;
    ggml_tensor *weights_;
    ggml_tensor *x_;
    ggml_tensor *ids_;
    ggml_backend_buffer_ptr buffer_;
};

class ExpertProducts : public testing::TestWithParam<CpuLevel> {
 protected:
    void SetUp() override {
        if (GetParam() > best_cpu_level()) {
            GTEST_SKIP() << "this processor has no " << name_of(GetParam());
        }
    }
};

TEST_P(ExpertProducts, AreThoseOfEachRowAlone) {
    for (int64_t n_of_token : {int64_t{1}, k_n_used}) {
        Experts experts(n_of_token);
        for (int n_threads : {1, 2, 7}) {
            const std::vector<float> found = experts.ours(GetParam(), n_threads);
            std::vector<float> expected;
            for (int64_t token = 0; token < k_n_tokens; ++token) {
                for (int64_t used = 0; used < k_n_used; ++used) {
                    const std::vector<float> row = experts.one(GetParam(), token, used);
                    expected.insert(expected.end(), row.begin(), row.end());
                }
            }
            EXPECT_TRUE(same_bits(found, expected)) << n_of_token << " rows, " << n_threads;
            EXPECT_TRUE(nmse_below(1e-4, found, experts.ggmls()));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Levels, ExpertProducts, testing::ValuesIn(all_cpu_levels()),
                         [](const auto &test) {
                             std::string name = name_of(test.param);
                             std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
                             return name;
                         });

}  // namespace
}  // namespace orthorank::test
