// Products of a few rows beside exact sums in double precision, for every type and level that this
// processor has: no worse than ggml's kernel, whatever the shape and the threads; and what a node
// does beside its products.
#include "graph/cpu_rows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/compare.h"
#include "support/product.h"

namespace orthorank::test {
namespace {

struct Case {
    ggml_type type;
    CpuLevel level;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                           GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL}) {
        all.push_back({type, CpuLevel::avx2});
        all.push_back({type, CpuLevel::avx512});
    }
    return all;
}

// Rows of K of one to five blocks: no level's groups divide them all.
constexpr ProductShape k_shapes[] = {{1, 32, 1}, {2, 33, 2},  {3, 100, 3}, {4, 17, 5},
                                     {5, 64, 8}, {18, 31, 1}, {7, 1, 31}};

std::vector<float> ours(Product &product, CpuLevel level, const std::vector<int> &n_threads = {1}) {
    return product.run(
        cpu_rows(product.graphs(), level, {{product.weight(), nullptr}}, {product.x()}), n_threads);
}

class CpuRows : public testing::TestWithParam<Case> {
 protected:
    void SetUp() override {
        if (GetParam().level > best_cpu_level()) {
            GTEST_SKIP() << "this processor has no " << name_of(GetParam().level);
        }
    }
};

// Both round activations to 8 bits: where ggml's blocks are as long, the errors are as large.
TEST_P(CpuRows, AreNoWorseThanGgmls) {
    std::vector<float> exact, found, ggmls;
    const auto append = [](std::vector<float> &to, const std::vector<float> &from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    for (const ProductShape &shape : k_shapes) {
        Product product(GetParam().type, shape);
        append(exact, product.exact());
        append(ggmls, product.ggmls());
        append(found, ours(product, GetParam().level));
        EXPECT_TRUE(nmse_below(5e-4, ours(product, GetParam().level), product.exact()))
            << shape.n_blocks << " blocks, " << shape.n_out << " x " << shape.n_rows;
    }
    EXPECT_TRUE(nmse_below(1.03 * nmse(ggmls, exact), found, exact));
}

TEST_P(CpuRows, HugeChannelsDoNotDrownTheOthers) {
    Product product(GetParam().type, {3, 200, 4}, true);
    const std::vector<float> exact = product.exact();
    const double ggmls = nmse(product.ggmls(), exact);
    EXPECT_TRUE(nmse_below(1.03 * ggmls, ours(product, GetParam().level), exact));
}

TEST_P(CpuRows, AnyThreadsGiveTheSameBits) {
    Product product(GetParam().type, {3, 170, 6});
    const std::vector<float> expected = ours(product, GetParam().level);
    EXPECT_TRUE(same_bits(ours(product, GetParam().level, {8}), expected));
    EXPECT_TRUE(same_bits(ours(product, GetParam().level, {2, 1, 5, 3, 4, 6, 7, 2}), expected));
}

TEST_P(CpuRows, ARowDoesNotDependOnThoseBesideIt) {
    Product product(GetParam().type, {3, 70, 7});
    const std::vector<float> all = ours(product, GetParam().level);
    for (int64_t row = 0; row < 7; ++row) {
        const auto begin = all.begin() + row * 70;
        const std::vector<float> alone =
            product.run(cpu_rows(product.graphs(), GetParam().level, {{product.weight(), nullptr}},
                                 {product.x_of_row(row)}));
        EXPECT_TRUE(same_bits(alone, std::vector<float>(begin, begin + 70))) << row;
    }
}

TEST_P(CpuRows, WhatIsNoNumberComesOutAsNone) {
    for (float bad : {NAN, INFINITY}) {
        Product product(GetParam().type, {2, 3, 1});
        static_cast<float *>(product.x()->data)[5] = bad;
        for (float found : ours(product, GetParam().level)) {
            EXPECT_FALSE(std::isfinite(found));
        }
    }
}

// A node beside the nodes of ggml that it stands for. The matrices are one weight's rows.
class Node {
 public:
    Node(const Case &c, int n_rows) : product_(c.type, {3, 96, n_rows}), level_(c.level) {
        ctx_.reset(ggml_init({1 << 16, nullptr, true}));
        norm_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, product_.weight()->ne[0]);
        bias_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, k_n_out);
        residual_ = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, k_n_out, n_rows);
        buffer_.reset(
            ggml_backend_alloc_ctx_tensors_from_buft(ctx_.get(), ggml_backend_cpu_buffer_type()));
        for (ggml_tensor *tensor : {norm_, bias_, residual_}) {
            for (int64_t i = 0; i < ggml_nelements(tensor); ++i) {
                static_cast<float *>(tensor->data)[i] =
                    0.5f + 0.1f * static_cast<float>(i * 7 % 11);
            }
        }
    }

    static constexpr int64_t k_n_out = 32;
    static constexpr float k_eps = 1e-5f;

    ggml_context *ctx() const { return product_.graphs(); }
    ggml_tensor *matrix(int i) const {
        ggml_tensor *all = product_.weight();
        return ggml_view_2d(ctx(), all, all->ne[0], k_n_out, all->nb[1],
                            all->nb[1] * static_cast<size_t>(i * k_n_out));
    }
    RowsInput normed() const { return {product_.x(), norm_, k_eps}; }
    // As ggml has it.
    ggml_tensor *normed_rows() const {
        return ggml_mul(ctx(), ggml_rms_norm(ctx(), product_.x(), k_eps), norm_);
    }
    ggml_tensor *ggmls(int i, ggml_tensor *x) const { return ggml_mul_mat(ctx(), matrix(i), x); }
    ggml_tensor *bias() const { return bias_; }
    ggml_tensor *residual() const { return residual_; }
    CpuLevel level() const { return level_; }
    std::vector<float> run(ggml_tensor *node) { return product_.run(node, {3}); }

 private:
    mutable Product product_;
    CpuLevel level_;
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *norm_ = nullptr;
    ggml_tensor *bias_ = nullptr;
    ggml_tensor *residual_ = nullptr;
};

constexpr double k_max_nmse = 1e-3;  // both sides round activations

TEST_P(CpuRows, SeveralMatricesOfNormedRowsWithBiases) {
    Node node(GetParam(), 3);
    const std::vector<float> found = node.run(cpu_rows(
        node.ctx(), node.level(),
        {{node.matrix(0), nullptr}, {node.matrix(1), node.bias()}, {node.matrix(2), node.bias()}},
        node.normed()));
    std::vector<float> expected;
    std::vector<std::vector<float>> parts;
    for (int i = 0; i < 3; ++i) {
        ggml_tensor *y = node.ggmls(i, node.normed_rows());
        parts.push_back(node.run(i == 0 ? y : ggml_add(node.ctx(), y, node.bias())));
    }
    for (ptrdiff_t row = 0; row < 3; ++row) {
        for (const std::vector<float> &part : parts) {
            const auto begin = part.begin() + row * Node::k_n_out;
            expected.insert(expected.end(), begin, begin + Node::k_n_out);
        }
    }
    EXPECT_TRUE(nmse_below(k_max_nmse, found, expected));
}

TEST_P(CpuRows, OntoAResidual) {
    Node node(GetParam(), 3);
    const std::vector<float> found =
        node.run(cpu_rows_onto(node.ctx(), node.level(), {node.matrix(1), node.bias()},
                               {node.normed().x}, node.residual()));
    ggml_tensor *y = ggml_add(node.ctx(), node.ggmls(1, node.normed().x), node.bias());
    EXPECT_TRUE(nmse_below(k_max_nmse, found, node.run(ggml_add(node.ctx(), y, node.residual()))));
}

TEST_P(CpuRows, Gated) {
    Node node(GetParam(), 3);
    const std::vector<float> found =
        node.run(cpu_rows_gated(node.ctx(), node.level(), {node.matrix(0), nullptr},
                                {node.matrix(2), node.bias()}, node.normed()));
    ggml_tensor *x = node.normed_rows();
    ggml_tensor *up = ggml_add(node.ctx(), node.ggmls(2, x), node.bias());
    EXPECT_TRUE(nmse_below(k_max_nmse, found,
                           node.run(ggml_swiglu_split(node.ctx(), node.ggmls(0, x), up))));
}

INSTANTIATE_TEST_SUITE_P(TypesAndLevels, CpuRows, testing::ValuesIn(cases()), [](const auto &test) {
    std::string name = std::string(ggml_type_name(test.param.type)) + name_of(test.param.level);
    std::erase_if(name, [](char x) { return std::isalnum(static_cast<unsigned char>(x)) == 0; });
    return name;
});

TEST(FitsCpuRows, BlocksInMainMemory) {
    EXPECT_TRUE(fits_cpu_rows(Product(GGML_TYPE_Q4_1, {1, 8, 8}).weight()));
    EXPECT_FALSE(fits_cpu_rows(Product(GGML_TYPE_BF16, {1, 8, 8}).weight()));
    const ggml_context_ptr ctx(ggml_init({1 << 16, nullptr, true}));
    EXPECT_FALSE(fits_cpu_rows(ggml_new_tensor_2d(ctx.get(), GGML_TYPE_Q4_1, 32, 8)))
        << "its memory is not known";
}

}  // namespace
}  // namespace orthorank::test
