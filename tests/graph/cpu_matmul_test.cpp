// Our products beside exact sums in double precision, for every type and level that this processor
// has: never worse than ggml's kernel, whatever the shape and the threads.
#include "graph/cpu_matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/compare.h"
#include "support/product.h"

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

constexpr ProductShape k_shapes[] = {{1, 32, 32}, {1, 1, 1},    {2, 33, 2},   {3, 31, 31},
                                     {1, 48, 33}, {2, 100, 64}, {1, 70, 100}, {50, 40, 34}};

// The product at a level, and of one row alone.
std::vector<float> ours(Product &product, CpuLevel level, const std::vector<int> &n_threads = {1}) {
    return product.run(CpuMatmul(level).multiply(product.graphs(), product.weight(), product.x()),
                       n_threads);
}
std::vector<float> ours_of_row(Product &product, CpuLevel level, int64_t row) {
    return product.run(
        CpuMatmul(level).multiply(product.graphs(), product.weight(), product.x_of_row(row)));
}

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
    std::vector<float> exact, found, ggmls;
    const auto append = [](std::vector<float> &to, const std::vector<float> &from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    for (const ProductShape &shape : k_shapes) {
        Product product(GetParam().type, shape);
        append(exact, product.exact());
        append(ggmls, product.ggmls());
        append(found, ours(product, GetParam().level));
        EXPECT_TRUE(nmse_below(1e-4, ours(product, GetParam().level), product.exact()))
            << shape.n_blocks << " blocks, " << shape.n_out << " x " << shape.n_rows;
    }
    // BF16 rounds the same in both; what is left is the order of sums.
    EXPECT_TRUE(nmse_below(1.01 * nmse(ggmls, exact), found, exact));
}

TEST_P(Products, HugeChannelsDoNotDrownTheOthers) {
    Product product(GetParam().type, {2, 64, 40}, true);
    const std::vector<float> exact = product.exact();
    const double ggmls = nmse(product.ggmls(), exact);
    EXPECT_TRUE(nmse_below(1.01 * ggmls, ours(product, GetParam().level), exact));
}

// Numbers that 8 bits have exactly, the largest of both signs in every place at once: what sums of
// too few bits would lose is lost here.
TEST_P(Products, SumsHoldTheLargestNumbers) {
    constexpr int64_t n_out = 40, n_rows = 34;
    Product product(GetParam().type, {2, n_out, n_rows});
    ggml_tensor *weight = product.weight();
    const int64_t n_k = weight->ne[0];
    std::vector<float> w(static_cast<size_t>(n_out * n_k));
    for (int64_t i = 0; i < n_out * n_k; ++i) {
        const int64_t kind = i / n_k % 4;  // all 1, or -1, but for a few that are 0; or the reverse
        const bool is_most = i % 16 != 5;
        w[static_cast<size_t>(i)] = is_most == (kind < 2) ? (kind % 2 == 0 ? 1.0f : -1.0f) : 0.0f;
    }
    ggml_quantize_chunk(weight->type, w.data(), weight->data, 0, n_out, n_k, nullptr);
    for (int64_t row = 0; row < n_rows; ++row) {
        std::fill_n(product.x_row(row), n_k, row % 2 == 0 ? 2.0f : -2.0f);
    }
    EXPECT_TRUE(nmse_below(1e-9, ours(product, GetParam().level), product.exact()));
}

TEST_P(Products, AnyThreadsGiveTheSameBits) {
    Product product(GetParam().type, {1, 70, 100});
    const std::vector<float> expected = ours(product, GetParam().level);
    EXPECT_TRUE(same_bits(ours(product, GetParam().level, {8}), expected));
    EXPECT_TRUE(same_bits(ours(product, GetParam().level, {2, 1, 5, 3, 8, 4, 7, 6}), expected));
}

TEST_P(Products, ARowDoesNotDependOnThoseBesideIt) {
    Product product(GetParam().type, {2, 70, 70});
    const std::vector<float> all = ours(product, GetParam().level);
    for (int64_t row : {0, 20, 33, 53, 69}) {
        const auto begin = all.begin() + row * 70;
        EXPECT_TRUE(same_bits(ours_of_row(product, GetParam().level, row),
                              std::vector<float>(begin, begin + 70)));
    }
}

// Two matrices of one input and the function between them, in strips and parts that do not divide
// the matrices.
TEST_P(Products, GatedIsTheFunctionOfBoth) {
    constexpr int64_t n_out = 70, n_rows = 100;
    Product product(GetParam().type, {2, 2 * n_out, n_rows});
    const auto half = [&](int64_t first) {
        ggml_tensor *weight = product.weight();
        return ggml_view_2d(product.graphs(), weight, weight->ne[0], n_out, weight->nb[1],
                            static_cast<size_t>(first) * weight->nb[1]);
    };
    const auto gated = [&](const std::vector<int> &n_threads) {
        CpuMatmul cpu_matmul(GetParam().level);
        ggml_tensor *gate = half(0), *up = half(n_out);
        EXPECT_TRUE(cpu_matmul.fits_gated(gate, up));
        return product.run(cpu_matmul.multiply_gated(product.graphs(), gate, up, product.x()),
                           n_threads);
    };
    const std::vector<float> both = ours(product, GetParam().level);
    std::vector<float> expected;
    for (int64_t row = 0; row < n_rows; ++row) {
        for (int64_t i = 0; i < n_out; ++i) {
            const double gate = both[static_cast<size_t>(row * 2 * n_out + i)];
            const double up = both[static_cast<size_t>(row * 2 * n_out + n_out + i)];
            expected.push_back(static_cast<float>(gate / (1 + std::exp(-gate)) * up));
        }
    }
    const std::vector<float> found = gated({1});
    EXPECT_TRUE(nmse_below(1e-12, found, expected));
    EXPECT_TRUE(same_bits(gated({8, 3}), found));
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
