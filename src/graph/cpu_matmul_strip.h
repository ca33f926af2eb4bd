// How a strip of weight rows meets the activations of cpu_matmul(), whatever a kernel P makes of
// both: pieces of K are unpacked for the strip and stay in the second cache while all rows pass, 32
// of them at a time. Included by the files of a level alone, each of which has its own copy.
//
// P has: k_tile_words (32-bit words of a tile of activations), k_part_words (of 32 numbers of a
// panel), begin() and end() around a strip, unpack(task, piece, words), and add(): the 32 x 32 sums
// of a Block.
#pragma once

#include <cstring>

#include "graph/cpu_matmul_kernel.h"

namespace orthorank {
namespace {

// Types of weights that a kernel takes: call() calls f.template operator()<type>() for one of them.
template <ggml_type... types>
struct TypesOfWeights {
    template <typename F>
    static void call(ggml_type type, const F &f) {
        ((type == types ? f.template operator()<types>() : void()), ...);
    }
};

// What 32 rows of activations meet at once: n_parts tiles of the first 16, of the second 16, and
// the panel.
struct Block {
    const uint32_t *first_rows;
    const uint32_t *second_rows;
    const uint32_t *panel;
    int64_t n_parts;
    bool has_sums;  // to be added to; else they begin here
};

// What is unpacked at once: 32 weight rows from first_weight on, n_parts times 32 of their numbers.
struct Piece {
    int first_weight;
    int64_t first_part;
    int64_t n_parts;
};

constexpr int64_t k_piece_parts = 48;  // 1536 of K

template <typename P>
struct Strip {
    static constexpr int64_t k_panel_words = k_piece_parts * P::k_part_words;

    // Between pieces sums wait in the output.
    static void multiply(const StripTask &task) {
        auto *words = static_cast<uint32_t *>(task.scratch);
        const int64_t n_parts = task.n_k / k_tile_k;
        P::begin();
        for (int64_t part = 0; part < n_parts; part += k_piece_parts) {
            const int64_t n = n_parts - part < k_piece_parts ? n_parts - part : k_piece_parts;
            for (int first = 0; first < task.n_weight_rows; first += k_panel_rows) {
                P::unpack(task, {first, part, n}, words + first / k_panel_rows * k_panel_words);
            }
            for (int64_t row = task.first_row; row < task.end_row; row += k_group_rows) {
                const auto *tiles = reinterpret_cast<const uint32_t *>(task.tiles) +
                                    (row / k_tile_rows * n_parts + part) * P::k_tile_words;
                for (int first = 0; first < task.n_weight_rows; first += k_panel_rows) {
                    const Block block{tiles, tiles + n_parts * P::k_tile_words,
                                      words + first / k_panel_rows * k_panel_words, n, part > 0};
                    multiply(task, row, first, block);
                }
            }
        }
        P::end();
    }

    static void multiply(const StripTask &task, int64_t row, int first_weight, const Block &block) {
        char *out = task.out + static_cast<size_t>(row) * task.out_stride +
                    static_cast<size_t>(first_weight) * sizeof(float);
        const int n_weights = task.n_weight_rows - first_weight < k_panel_rows
                                  ? task.n_weight_rows - first_weight
                                  : k_panel_rows;
        if (row + k_group_rows <= task.end_row && n_weights == k_panel_rows) {
            P::add(block, reinterpret_cast<float *>(out), task.out_stride / sizeof(float));
            return;
        }
        alignas(64) float sums[k_group_rows][k_panel_rows];
        const auto n_bytes = static_cast<size_t>(n_weights) * sizeof(float);
        const int64_t n_rows =
            task.end_row - row < k_group_rows ? task.end_row - row : k_group_rows;
        for (int64_t i = 0; block.has_sums && i < n_rows; ++i) {
            std::memcpy(sums[i], out + static_cast<size_t>(i) * task.out_stride, n_bytes);
        }
        P::add(block, sums[0], k_panel_rows);
        for (int64_t i = 0; i < n_rows; ++i) {
            std::memcpy(out + static_cast<size_t>(i) * task.out_stride, sums[i], n_bytes);
        }
    }
};

// The weight row that a panel's lane has: lanes behind the strip's last row repeat it.
inline const uint8_t *weight_row(const StripTask &task, int row) {
    row = row < task.n_weight_rows ? row : task.n_weight_rows - 1;
    return reinterpret_cast<const uint8_t *>(task.weights) +
           static_cast<size_t>(row) * task.weight_stride;
}

}  // namespace
}  // namespace orthorank
