// A weight in a quantised type, rows of activations, and their product: exactly, and by ggml.
#pragma once

#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "graph/backends.h"
#include "support/cpu_backend.h"

namespace orthorank::test {

struct ProductShape {
    int64_t n_blocks;  // of a weight's row
    int64_t n_out;
    int64_t n_rows;
};

// A weight, rows of activations, and what their product is.
class Product {
 public:
    Product(ggml_type type, const ProductShape &shape, bool has_huge_channel = false)
        : backend_(cpu_backend()),
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

    std::vector<float> ggmls() { return run(ggml_mul_mat(graphs_.get(), weight_, x_)); }
    // With each of these numbers of threads, one after the other: what the last gives.
    std::vector<float> run(ggml_tensor *node, const std::vector<int> &n_threads = {1}) {
        ggml_cgraph *graph = ggml_new_graph(graphs_.get());
        ggml_build_forward_expand(graph, node);
        const ggml_gallocr_ptr allocator(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator.get(), graph));
        for (int n : n_threads) {
            std::fill_n(static_cast<float *>(node->data), ggml_nelements(node), NAN);
            set_threads(backend_.get(), n);
            EXPECT_EQ(ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        }
        const auto *data = static_cast<const float *>(node->data);
        return {data, data + ggml_nelements(node)};
    }

    ggml_context *graphs() const { return graphs_.get(); }
    ggml_tensor *weight() const { return weight_; }
    ggml_tensor *x() const { return x_; }
    ggml_tensor *x_of_row(int64_t row) const {
        return ggml_view_2d(graphs_.get(), x_, x_->ne[0], 1, x_->nb[1],
                            static_cast<size_t>(row) * x_->nb[1]);
    }
    float *x_row(int64_t row) const {
        return reinterpret_cast<float *>(static_cast<char *>(x_->data) +
                                         static_cast<size_t>(row) * x_->nb[1]);
    }

 private:
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

    ggml_backend_ptr backend_;
    ggml_context_ptr inputs_;
    ggml_context_ptr graphs_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *weight_ = nullptr;
    ggml_tensor *x_ = nullptr;
};

}  // namespace orthorank::test
