// The kernel of cpu_rows() for a level O: blocks of 32 weights, O::k_blocks at a time, meet
// activations in 8 bits straight from the file's layout. Four 32-bit lanes belong to a block, so
// that no sum crosses lanes before a row's end. Included by the files of a level alone, each of
// which has its own copy.
//
// A group of blocks is two registers of 8-bit numbers: `low` has the first 16 of each block,
// `high` the others.
#pragma once

#include <cmath>

#include "graph/cpu_lanes.h"
#include "graph/cpu_rounding.h"
#include "graph/cpu_rows_kernel.h"
#include "graph/cpu_rows_weights.h"

namespace orthorank {
namespace {

// A group of a row of activations.
template <int n_blocks>
struct alignas(16 * n_blocks) RowGroup {
    int8_t low[16 * n_blocks];
    int8_t high[16 * n_blocks];
    float scales_sums[2 * n_blocks];  // scale of a block, scale x sum of its numbers, ...
};

template <typename O>
struct Rows {
    using L = typename O::Lanes;
    using Vec = typename L::Vec;
    using Pairs = typename O::Pairs;
    using Group = RowGroup<O::k_blocks>;
    static constexpr int k_rows_at_once = 4;  // that meet a group of weights once it is unpacked

    static int64_t n_groups(int64_t n_k) {
        return (n_k / k_block_k + O::k_blocks - 1) / O::k_blocks;
    }
    static size_t row_bytes(int64_t n_k) {
        return (static_cast<size_t>(n_groups(n_k)) * sizeof(Group) + 63) / 64 * 64;
    }

    static void normalise(const float *x, const float *weight, float eps, int64_t n_k, float *y) {
        Vec squares = L::set(0.0f);
        for (int64_t k = 0; k < n_k; k += L::n) {
            squares = L::fma(L::load(x + k), L::load(x + k), squares);
        }
        float lanes[L::n];
        L::store(lanes, squares);
        double sum = 0;
        for (float of_lane : lanes) {
            sum += static_cast<double>(of_lane);
        }
        const auto mean = static_cast<float>(sum / static_cast<double>(n_k));
        const Vec scale = L::set(1.0f / std::sqrt(mean + eps));
        for (int64_t k = 0; k < n_k; k += L::n) {
            L::store(y + k, L::mul(L::mul(L::load(x + k), scale), L::load(weight + k)));
        }
    }

    static void quantise(const float *x, int64_t n_k, char *row) {
        auto *groups = reinterpret_cast<Group *>(row);
        const int64_t n_blocks = n_k / k_block_k;
        for (int64_t block = 0; block < n_groups(n_k) * O::k_blocks; ++block) {
            Group &group = groups[block / O::k_blocks];
            const int64_t i = block % O::k_blocks;
            float *scale_sum = group.scales_sums + 2 * i;
            if (block < n_blocks) {
                const RoundedBlock rounded =
                    round_block(x + block * k_block_k, group.low + 16 * i, group.high + 16 * i);
                scale_sum[0] = rounded.scale;
                scale_sum[1] = rounded.scale * static_cast<float>(rounded.sum);
            } else {  // behind the row's end
                std::memset(group.low + 16 * i, 0, 16);
                std::memset(group.high + 16 * i, 0, 16);
                scale_sum[0] = scale_sum[1] = 0.0f;
            }
        }
    }

    static void multiply(const RowsTask &task) {
        switch (task.type) {
            case GGML_TYPE_Q4_0:
                return multiply<GGML_TYPE_Q4_0>(task);
            case GGML_TYPE_Q4_1:
                return multiply<GGML_TYPE_Q4_1>(task);
            case GGML_TYPE_Q5_0:
                return multiply<GGML_TYPE_Q5_0>(task);
            case GGML_TYPE_Q5_1:
                return multiply<GGML_TYPE_Q5_1>(task);
            case GGML_TYPE_Q8_0:
                return multiply<GGML_TYPE_Q8_0>(task);
            case GGML_TYPE_IQ4_NL:
                return multiply<GGML_TYPE_IQ4_NL>(task);
            default:
                return;  // cpu_rows() takes no others
        }
    }

    template <ggml_type type>
    static void multiply(const RowsTask &task) {
        for (int64_t i = 0; i < task.n_weights; ++i) {
            const auto *weights = reinterpret_cast<const uint8_t *>(task.weights) +
                                  static_cast<size_t>(i) * task.weight_stride;
            int64_t row = 0;
            for (; row + k_rows_at_once <= task.n_rows; row += k_rows_at_once) {
                dot<type, k_rows_at_once>(task, weights, row, task.out + i);
            }
            for (; row < task.n_rows; ++row) {
                dot<type, 1>(task, weights, row, task.out + i);
            }
        }
    }

    // One weight row with n rows of activations from `row` on.
    template <ggml_type type, int n>
    static void dot(const RowsTask &task, const uint8_t *weights, int64_t row, float *out) {
        Sums<type, n> sums;
        const size_t stride = row_bytes(task.n_k);
        const Group *groups[n];
        for (int i = 0; i < n; ++i) {
            groups[i] =
                reinterpret_cast<const Group *>(task.rows + static_cast<size_t>(row + i) * stride);
        }
        const int64_t n_blocks = task.n_k / k_block_k;
        const int64_t n_whole = n_blocks / O::k_blocks;
        Unpacked<O> unpacked;
        for (int64_t group = 0; group < n_whole; ++group) {
            Quants<type, O>::unpack(weights, group, O::k_blocks, unpacked);
            sums.add(unpacked, groups, group);
        }
        if (n_whole * O::k_blocks < n_blocks) {
            Quants<type, O>::unpack(weights, n_whole,
                                    static_cast<int>(n_blocks - n_whole * O::k_blocks), unpacked);
            sums.add(unpacked, groups, n_whole);
        }
        for (int i = 0; i < n; ++i) {
            out[static_cast<size_t>(row + i) * task.out_stride] = sums.total(i);
        }
    }

    // Of n rows: products by lanes, and by blocks what the weights' offsets add. Each row's sums
    // take one order, however many there are.
    template <ggml_type type, int n>
    struct Sums {
        Vec products[n];
        Pairs offsets[n];

        Sums() {
            for (int i = 0; i < n; ++i) {
                products[i] = L::set(0.0f);
                offsets[i] = O::zero_pairs();
            }
        }

        void add(const Unpacked<O> &w, const Group *const *groups, int64_t group) {
            for (int i = 0; i < n; ++i) {
                const Group &x = groups[i][group];
                constexpr bool is_signed = Quants<type, O>::k_is_signed && O::k_multiplies_signs;
                const Pairs pairs = O::mul(w.pairs, O::load(x.scales_sums));
                products[i] = L::fma(O::template dot<is_signed>(w.low, x.low, w.high, x.high),
                                     O::spread_first(pairs), products[i]);
                offsets[i] = O::add(offsets[i], pairs);
            }
        }

        float total(int i) const { return O::sum(products[i]) + O::sum_second(offsets[i]); }
    };

    static constexpr RowsKernel kernel() {
        return {row_bytes, normalise, quantise, multiply, gated<L>};
    }
};

}  // namespace
}  // namespace orthorank
