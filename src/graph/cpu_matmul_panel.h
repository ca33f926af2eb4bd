// The kernel of cpu_matmul() for a level L: the panel of weights is unpacked into words of 32 bits,
// one weight row a lane, so that no sum crosses lanes; then it meets the activations, 32 rows of
// them at a time. Included by the files of a level alone, each of which has its own copy.
//
// L has: Types (of weights); k_words (32-bit words that 32 numbers become) and k_parts (how often:
// sums of parts), so that a tile is [k_parts][16][k_words]; pack() of one row into it, to_words()
// of 16 weight rows to [k_parts][k_words][16], k_strip_panels (as many as stay in the second
// cache), and add(): the 32 x 32 sums of a Block, by add_in_registers() or its own way;
// k_round_flops and run_rounds() of MatmulKernel; Lanes of cpu_lanes.h.
#pragma once

#include "graph/cpu_lanes.h"
#include "graph/cpu_matmul_strip.h"
#include "graph/cpu_unpack.h"

namespace orthorank {
namespace {

template <typename L>
struct Panel {
    static constexpr int64_t k_tile_words = int64_t{L::k_parts} * k_tile_rows * L::k_words;
    static constexpr size_t k_tile_bytes = static_cast<size_t>(k_tile_words) * sizeof(uint32_t);
    static constexpr int64_t k_part_words = 2 * k_tile_words;

    static void pack(const float *x, int64_t n_k, int row, char *tiles) {
        auto *to = reinterpret_cast<uint32_t *>(tiles) + row * L::k_words;
        for (int64_t k = 0; k < n_k; k += k_tile_k, to += k_tile_words) {
            static constexpr float zeros[k_tile_k] = {};
            L::pack(x == nullptr ? zeros : x + k, to);
        }
    }

    // The parts of one panel that a piece has; words: [n_parts][2] tiles.
    template <ggml_type type>
    static void unpack_type(const StripTask &task, const Piece &piece, uint32_t *words) {
        alignas(64) float y[k_tile_rows][k_unpacked];
        for (int half = 0; half < 2; ++half) {
            for (int64_t part = 0; part < piece.n_parts; ++part) {
                for (int i = 0; i < k_tile_rows; ++i) {
                    const int row = piece.first_weight + half * k_tile_rows + i;
                    Unpacker<type>::unpack(weight_row(task, row), piece.first_part + part, y[i]);
                }
                L::to_words(y, words + (part * 2 + half) * k_tile_words);
            }
        }
    }

    static void unpack(const StripTask &task, const Piece &piece, uint32_t *words) {
        L::Types::call(task.type, [&]<ggml_type type>() { unpack_type<type>(task, piece, words); });
    }

    static void begin() { L::begin(); }
    static void end() { L::end(); }
    static void add(const Block &block, float *out, size_t stride) { L::add(block, out, stride); }

    static constexpr MatmulKernel kernel() {
        return {L::k_parts,
                L::k_words * sizeof(uint32_t),
                k_tile_bytes,
                L::k_strip_panels,
                L::k_strip_panels * Strip<Panel>::k_panel_words * sizeof(uint32_t),
                pack,
                Strip<Panel>::multiply,
                gated<typename L::Lanes>,
                L::k_round_flops,
                L::run_rounds};
    }
};

// The sums of a block in registers of Ops::n words; out [32][stride].
template <typename Ops>
void add_in_registers(const Block &block, float *out, size_t stride) {
    constexpr int n_vecs_of_half = k_tile_rows / Ops::n;
    constexpr int n_rows = Ops::n_rows_at_once;
    constexpr int n_vecs = Ops::n_vecs_at_once;
    constexpr int tile_words = k_tile_rows * Ops::k_words;
    for (int first = 0; first < k_group_rows; first += n_rows) {
        const uint32_t *tiles = first < k_tile_rows ? block.first_rows : block.second_rows;
        const uint32_t *rows = tiles + first % k_tile_rows * Ops::k_words;
        for (int first_vec = 0; first_vec < 2 * n_vecs_of_half; first_vec += n_vecs) {
            float *to = out + static_cast<size_t>(first) * stride + first_vec * Ops::n;
            typename Ops::Vec sums[n_rows][n_vecs];
            for (int row = 0; row < n_rows; ++row) {
                for (int v = 0; v < n_vecs; ++v) {
                    const float *at = to + static_cast<size_t>(row) * stride + v * Ops::n;
                    sums[row][v] = block.has_sums ? Ops::load_sums(at) : Ops::zero();
                }
            }
            for (int64_t part = 0; part < block.n_parts; ++part) {
                const uint32_t *x = rows + part * tile_words;
                const uint32_t *w = block.panel + part * 2 * tile_words;
                for (int word = 0; word < Ops::k_words; ++word) {
                    typename Ops::Vec weights[n_vecs];
                    for (int v = 0; v < n_vecs; ++v) {
                        const int vec = first_vec + v;
                        weights[v] = Ops::load(w + vec / n_vecs_of_half * tile_words +
                                               word * k_tile_rows + vec % n_vecs_of_half * Ops::n);
                    }
                    for (int row = 0; row < n_rows; ++row) {
                        const auto number = Ops::broadcast(x[row * Ops::k_words + word]);
                        for (int v = 0; v < n_vecs; ++v) {
                            sums[row][v] = Ops::dot(sums[row][v], weights[v], number);
                        }
                    }
                }
            }
            for (int row = 0; row < n_rows; ++row) {
                for (int v = 0; v < n_vecs; ++v) {
                    Ops::store(to + static_cast<size_t>(row) * stride + v * Ops::n, sums[row][v]);
                }
            }
        }
    }
}

template <typename Ops>
float run_rounds_in_registers(const uint32_t *operands, int64_t n) {
    typename Ops::Vec sums[k_sums_of_round];
    for (auto &sum : sums) {
        sum = Ops::zero();
    }
    const auto a = Ops::load(operands);
    const auto b = Ops::load(operands + Ops::n);
    for (int64_t round = 0; round < n; ++round) {
        for (auto &sum : sums) {
            sum = Ops::dot(sum, a, b);
        }
    }
    alignas(64) float out[Ops::n];
    float first = 0;
    for (const auto &sum : sums) {
        Ops::store(out, sum);
        first += out[0];
    }
    return first;
}

}  // namespace
}  // namespace orthorank
