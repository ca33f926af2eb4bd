// Our products beside exact sums in double precision, for every type and level that this processor
// has: never worse than ggml's kernel, whatever the shape and the threads.
#include "graph/cpu_matmul.h"

#include <ggml-cpp.h>
#include <ggml-cpu.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/compare.h"

namespace orthorank::test {
namespace {

struct Case {
    ggml_type type;
    CpuLevel level;
};

std::string case_name(const Case &c) {
    std::string name = std::string(ggml_type_name(c.type)) + "_" + name_of(c.level);
    std::erase_if(name, [](char x) { return std::isalnum(static_cast<unsigned char>(x)) == 0; });
    return name;
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (ggml_type type :
         {GGML_TYPE_BF16, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
          GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K}) {
        for (CpuLevel level : all_cpu_levels()) {
            all.push_back({type, level});
        }
    }
    return all;
}

struct Shape {
    int64_t n_blocks;  // of a weight's row
    int64_t n_out;
    int64_t n_rows;
};

constexpr Shape k_shapes[] = {{1, 32, 32}, {1, 1, 1},    {2, 33, 2},   {3, 31, 31},
                              {1, 48, 33}, {2, 100, 64}, {1, 70, 100}, {50, 40, 34}};

// A weight, rows of activations, and what their product is.
class Product {
 public:
    Product(ggml_type type, const Shape &shape, bool has_huge_channel = false)
        : backend_(ggml_backend_cpu_init()),
          inputs_(ggml_init({1 << 16, nullptr, true})),
          graphs_(ggml_init({1 << 20, nullptr, true})) {
        const int64_t n_k = shape.n_blocks * std::max<int64_t>(32, ggml_blck_size(type));
        weight_ = ggml_new_tensor_2d(inputs_.get(), type, n_k, shape.n_out);
        // Rows that lie apart, as those of a view do.
        ggml_tensor *wide = ggml_new_tensor_2d(inputs_.get(), GGML_TYPE_F32, n_k + 8, shape.n_rows);
        buffer_.reset(ggml_backend_alloc_ctx_tensors(inputs_.get(), backend_.get()));
        x_ = ggml_view_2d(graphs_.get(), wide, n_k, shape.n_rows, wide->nb[1], 0);
        fill(has_huge_channel);
    }

    std::vector<float> exact() const {
        const int64_t n_k = weight_->ne[0];
        std::vector<float> w(static_cast<size_t>(ggml_nelements(weight_)));
        ggml_get_type_traits(weight_->type)
            ->to_float(weight_->data, w.data(), ggml_nelements(weight_));
        std::vector<float> sums;
        for (int64_t row = 0; row < x_->ne[1]; ++row) {
            for (int64_t out = 0; out < weight_->ne[1]; ++out) {
                double sum = 0;
                for (int64_t k = 0; k < n_k; ++k) {
                    sum += static_cast<double>(w[static_cast<size_t>(out * n_k + k)]) *
                           static_cast<double>(x_row(row)[k]);
                }
                sums.push_back(static_cast<float>(sum));
            }
        }
        return sums;
    }

    std::vector<float> ggmls() { return run(ggml_mul_mat(graphs_.get(), weight_, x_), {1}); }
    std::vector<float> ours(CpuLevel level, const std::vector<int> &n_threads = {1}) {
        return run(ours_node(level), n_threads);
    }
    // The row alone.
    std::vector<float> ours_of_row(CpuLevel level, int64_t row) {
        ggml_tensor *x = ggml_view_2d(graphs_.get(), x_, x_->ne[0], 1, x_->nb[1],
                                      static_cast<size_t>(row) * x_->nb[1]);
        return run(CpuMatmul(level).multiply(graphs_.get(), weight_, x), {1});
    }
    const ggml_tensor *weight() const { return weight_; }

 private:
    float *x_row(int64_t row) const {
        return reinterpret_cast<float *>(static_cast<char *>(x_->data) +
                                         static_cast<size_t>(row) * x_->nb[1]);
    }

    void fill(bool has_huge_channel) {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        std::vector<float> w(static_cast<size_t>(ggml_nelements(weight_)));
        std::generate(w.begin(), w.end(), [&] { return normal(random) + 0.1f; });
        ggml_quantize_chunk(weight_->type, w.data(), weight_->data, 0, weight_->ne[1],
                            weight_->ne[0], nullptr);
        for (int64_t row = 0; row < x_->ne[1]; ++row) {
            std::generate_n(x_row(row), x_->ne[0], [&] { return normal(random); });
            if (has_huge_channel) {
                x_row(row)[3] = 24000.0f;
            }
        }
    }

    ggml_tensor *ours_node(CpuLevel level) {
        return CpuMatmul(level).multiply(graphs_.get(), weight_, x_);
    }

    std::vector<float> run(ggml_tensor *node, const std::vector<int> &n_threads) {
        ggml_cgraph *graph = ggml_new_graph(graphs_.get());
        ggml_build_forward_expand(graph, node);
        const ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        for (int n : n_threads) {
            std::fill_n(static_cast<float *>(node->data), ggml_nelements(node), NAN);
            ggml_backend_cpu_set_n_threads(backend_.get(), n);
            EXPECT_EQ(ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        }
        const auto *data = static_cast<const float *>(node->data);
        return {data, data + ggml_nelements(node)};
    }

    ggml_backend_ptr backend_;
    ggml_context_ptr inputs_;
    ggml_context_ptr graphs_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *weight_ = nullptr;
    ggml_tensor *x_ = nullptr;
};

class Products : public testing::TestWithParam<Case> {
 protected:
    void SetUp() override {
        if (GetParam().level > best_cpu_level()) {
            GTEST_SKIP() << "this processor has no " << name_of(GetParam().level);
        }
    }
};

// Of all the shapes' numbers together: one shape has one, which may be right by luck.
TEST_P(Products, AreNoWorseThanGgmls) {
    std::vector<float> exact, ours, ggmls;
    const auto append = [](std::vector<float> &to, const std::vector<float> &from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    for (const Shape &shape : k_shapes) {
        Product product(GetParam().type, shape);
        append(exact, product.exact());
        append(ggmls, product.ggmls());
        append(ours, product.ours(GetParam().level));
        EXPECT_TRUE(nmse_below(1e-4, product.ours(GetParam().level), product.exact()))
            << shape.n_blocks << " blocks, " << shape.n_out << " x " << shape.n_rows;
    }
    // BF16 rounds the same in both; what is left is the order of sums.
    EXPECT_TRUE(nmse_below(1.01 * nmse(ggmls, exact), ours, exact));
}

TEST_P(Products, HugeChannelsDoNotDrownTheOthers) {
    Product product(GetParam().type, {2, 64, 40}, true);
    const std::vector<float> exact = product.exact();
    const double ggmls = nmse(product.ggmls(), exact);
    EXPECT_TRUE(nmse_below(1.01 * ggmls, product.ours(GetParam().level), exact));
}

TEST_P(Products, AnyThreadsGiveTheSameBits) {
    Product product(GetParam().type, {1, 70, 100});
    const std::vector<float> expected = product.ours(GetParam().level);
    EXPECT_TRUE(same_bits(product.ours(GetParam().level, {8}), expected));
    EXPECT_TRUE(same_bits(product.ours(GetParam().level, {2, 1, 5, 3, 8, 2}), expected));
}

TEST_P(Products, ARowDoesNotDependOnThoseBesideIt) {
    Product product(GetParam().type, {2, 70, 70});
    const std::vector<float> all = product.ours(GetParam().level);
    for (int64_t row : {0, 20, 33, 53, 69}) {
        const auto begin = all.begin() + row * 70;
        EXPECT_TRUE(same_bits(product.ours_of_row(GetParam().level, row),
                              std::vector<float>(begin, begin + 70)));
    }
}

INSTANTIATE_TEST_SUITE_P(TypesAndLevels, Products, testing::ValuesIn(cases()),
                         [](const auto &test) { return case_name(test.param); });

TEST(FitsCpuMatmul, PlainWeightsInMainMemory) {
    EXPECT_TRUE(fits_cpu_matmul(Product(GGML_TYPE_Q4_1, {1, 8, 8}).weight()));
    EXPECT_FALSE(fits_cpu_matmul(Product(GGML_TYPE_F16, {1, 8, 8}).weight()));
    const ggml_context_ptr ctx(ggml_init({1 << 16, nullptr, true}));
    EXPECT_FALSE(fits_cpu_matmul(ggml_new_tensor_2d(ctx.get(), GGML_TYPE_Q4_1, 32, 8)))
        << "its memory is not known";
}

}  // namespace
}  // namespace orthorank::test
