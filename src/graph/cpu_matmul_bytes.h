// The kernel of cpu_matmul() in 8 bits for a level L. Activations are rounded in blocks of 32, one
// scale each, and made unsigned by 128 more; weights keep the file's numbers, signed, with their
// own scales. Four of both are a word of 32 bits, one weight row a lane, and the sums of a block
// are whole numbers: what 128 adds is taken off where they start. Included by the files of a level
// alone, each of which has its own copy.
//
// L has: Types (of weights); Ints and n lanes of them, load_ints(), broadcast(), store_words() of
// 16 weight rows, to_floats(), subtract(); how many rows and registers of weights meet at once; and
// of four products a lane: begin(sum, x, w), which may hold them in 16 bits, more(), and finish()
// back in 32 (k_sums_in_16_bits); k_chunk_parts, as many as stay in the first cache; Lanes of
// cpu_lanes.h.
#pragma once

#include "graph/cpu_lanes.h"
#include "graph/cpu_matmul_strip.h"
#include "graph/cpu_rounding.h"
#include "graph/cpu_unpack_bytes.h"

namespace orthorank {
namespace {

static_assert(k_rounded == k_tile_k);
constexpr int k_words_of_block = k_tile_k / 4;

// A row's block of activations; a tile has one for each of its rows.
struct RoundedPiece {
    uint32_t words[k_words_of_block];
    float scale;
    float sum;  // of the numbers, before 128 was added
};

// What 32 numbers of the 32 weight rows of a panel become.
template <int n_groups, int n_words, int n_scales>
struct alignas(64) BytesPart {
    uint32_t words[n_groups][n_words][k_panel_rows];
    float scales[n_scales][k_panel_rows];    // of the groups, then the offsets if there are any
    int32_t starts[n_groups][k_panel_rows];  // -128 x the sum of a group's numbers
};

template <typename L, ggml_type type>
struct BytesStrip {
    using Type = Bytes<type>;
    using Ints = typename L::Ints;
    using F = typename L::Lanes;
    using Vec = typename F::Vec;
    // A group has a sum and a scale of its own: all words of a block, or each half of them.
    static constexpr int n_groups = Type::n_scales;
    static constexpr int n_words = k_words_of_block / n_groups;
    // Words whose sums 16 bits hold, of two products each that are at most 255 x 2^(bits - 1).
    static constexpr int n_in_16_bits = 8 >> (Type::n_bits - 4);
    static constexpr int n_at_once =
        L::k_sums_in_16_bits && n_in_16_bits < n_words ? n_in_16_bits : n_words;
    static_assert(n_at_once > 0);

    using Part = BytesPart<n_groups, n_words, n_groups + (Type::has_offset ? 1 : 0)>;
    static constexpr int64_t k_tile_words = k_tile_rows * sizeof(RoundedPiece) / sizeof(uint32_t);
    static constexpr int64_t k_part_words = sizeof(Part) / sizeof(uint32_t);
    static constexpr int k_vecs = k_panel_rows / L::n;

    static void begin() {}
    static void end() {}

    // The sums of a group for rows x .. and the vectors of weights from `lane` on.
    template <int n_rows, int n_vecs>
    static void add_words(const RoundedPiece *x, int first, const uint32_t (*words)[k_panel_rows],
                          int lane, Ints (*sums)[n_vecs]) {
        for (int begin = 0; begin < n_words; begin += n_at_once) {
            typename L::Products products[n_rows][n_vecs];
            for (int word = begin; word < begin + n_at_once; ++word) {
                Ints w[n_vecs];
                for (int v = 0; v < n_vecs; ++v) {
                    w[v] = L::load_ints(words[word] + lane + v * L::n);
                }
                for (int row = 0; row < n_rows; ++row) {
                    const Ints numbers = L::broadcast(x[row].words[first + word]);
                    for (int v = 0; v < n_vecs; ++v) {
                        products[row][v] = word == begin ? L::begin(sums[row][v], numbers, w[v])
                                                         : L::more(products[row][v], numbers, w[v]);
                    }
                }
            }
            for (int row = 0; row < n_rows; ++row) {
                for (int v = 0; v < n_vecs; ++v) {
                    sums[row][v] = L::finish(sums[row][v], products[row][v]);
                }
            }
        }
    }

    static void unpack(const StripTask &task, const Piece &piece, uint32_t *words) {
        auto *parts = reinterpret_cast<Part *>(words);
        for (int64_t part = 0; part < piece.n_parts; ++part) {
            for (int first = 0; first < k_panel_rows; first += k_tile_rows) {
                alignas(64) int8_t y[k_tile_rows][k_tile_k];
                for (int i = 0; i < k_tile_rows; ++i) {
                    const uint8_t *row = weight_row(task, piece.first_weight + first + i);
                    BlockScales by;
                    _mm256_store_si256(reinterpret_cast<__m256i *>(y[i]),
                                       Type::read(row, piece.first_part + part, by));
                    set_scales(by, first + i, parts[part]);
                }
                L::store_words(y, parts[part].words[0][0] + first);
            }
            set_starts(parts[part]);
        }
    }

    static void set_scales(const BlockScales &by, int lane, Part &part) {
        for (int group = 0; group < n_groups; ++group) {
            part.scales[group][lane] = by.scales[group];
        }
        if constexpr (Type::has_offset) {
            part.scales[n_groups][lane] = by.offset;
        }
    }

    static void set_starts(Part &part) {
        static constexpr RoundedPiece all_128 = [] {
            RoundedPiece piece{};
            for (uint32_t &word : piece.words) {
                word = 0x80808080u;
            }
            return piece;
        }();
        for (int group = 0; group < n_groups; ++group) {
            for (int lane = 0; lane < k_panel_rows; lane += L::n) {
                Ints sums[1][1] = {{L::no_ints()}};
                add_words<1, 1>(&all_128, 0, part.words[group], lane, sums);
                L::store_ints(part.starts[group] + lane, L::subtract(L::no_ints(), sums[0][0]));
            }
        }
    }

    static void add(const Block &block, float *out, size_t stride) {
        constexpr int n_rows = L::n_rows_at_once;
        constexpr int n_vecs = L::n_vecs_at_once;
        for (int64_t part = 0; part < block.n_parts; part += L::k_chunk_parts) {
            const int64_t n =
                block.n_parts - part < L::k_chunk_parts ? block.n_parts - part : L::k_chunk_parts;
            for (int row = 0; row < k_group_rows; row += n_rows) {
                const uint32_t *tiles = row < k_tile_rows ? block.first_rows : block.second_rows;
                const RoundedPiece *x = reinterpret_cast<const RoundedPiece *>(tiles) +
                                        part * k_tile_rows + row % k_tile_rows;
                const auto *w = reinterpret_cast<const Part *>(block.panel) + part;
                for (int vec = 0; vec < k_vecs; vec += n_vecs) {
                    add_chunk(x, w, n, vec * L::n, block.has_sums || part > 0,
                              out + static_cast<size_t>(row) * stride + vec * L::n, stride);
                }
            }
        }
    }

    static void add_chunk(const RoundedPiece *x, const Part *w, int64_t n_parts, int lane,
                          bool has_sums, float *out, size_t stride) {
        constexpr int n_rows = L::n_rows_at_once;
        constexpr int n_vecs = L::n_vecs_at_once;
        Vec totals[n_rows][n_vecs];
        for (int row = 0; row < n_rows; ++row) {
            for (int v = 0; v < n_vecs; ++v) {
                const float *at = out + static_cast<size_t>(row) * stride + v * L::n;
                totals[row][v] = has_sums ? F::load(at) : F::set(0.0f);
            }
        }
        for (int64_t part = 0; part < n_parts; ++part, x += k_tile_rows, ++w) {
            Ints sums[n_groups][n_rows][n_vecs];
            for (int group = 0; group < n_groups; ++group) {
                for (int row = 0; row < n_rows; ++row) {
                    for (int v = 0; v < n_vecs; ++v) {
                        sums[group][row][v] = L::load_ints(w->starts[group] + lane + v * L::n);
                    }
                }
                add_words<n_rows, n_vecs>(x, group * n_words, w->words[group], lane, sums[group]);
            }
            for (int row = 0; row < n_rows; ++row) {
                for (int v = 0; v < n_vecs; ++v) {
                    const int at = lane + v * L::n;
                    Vec sum = F::mul(L::to_floats(sums[0][row][v]), F::load(w->scales[0] + at));
                    if constexpr (n_groups == 2) {
                        sum =
                            F::fma(L::to_floats(sums[1][row][v]), F::load(w->scales[1] + at), sum);
                    }
                    if constexpr (Type::has_offset) {
                        sum = F::fma(F::load(w->scales[n_groups] + at), F::set(x[row].sum), sum);
                    }
                    totals[row][v] = F::fma(sum, F::set(x[row].scale), totals[row][v]);
                }
            }
        }
        for (int row = 0; row < n_rows; ++row) {
            for (int v = 0; v < n_vecs; ++v) {
                F::store(out + static_cast<size_t>(row) * stride + v * L::n, totals[row][v]);
            }
        }
    }
};

template <typename L>
struct BytesPanel {
    static void pack(const float *x, int64_t n_k, int row, char *tiles) {
        auto *piece = reinterpret_cast<RoundedPiece *>(tiles) + row;
        for (int64_t k = 0; k < n_k; k += k_tile_k, piece += k_tile_rows) {
            int8_t rounded[k_tile_k] = {};
            RoundedBlock block{};
            if (x != nullptr) {
                block = round_block(x + k, rounded, rounded + k_tile_k / 2);
            }
            std::memcpy(piece->words, rounded, sizeof(piece->words));
            for (uint32_t &word : piece->words) {
                word ^= 0x80808080u;
            }
            piece->scale = block.scale;
            piece->sum = static_cast<float>(block.sum);
        }
    }

    static void multiply(const StripTask &task) {
        L::Types::call(task.type,
                       [&]<ggml_type type>() { Strip<BytesStrip<L, type>>::multiply(task); });
    }

    static float run_rounds(const uint32_t *operands, int64_t n) {
        typename L::Products sums[k_sums_of_round];
        const auto a = L::load_ints(operands);
        const auto b = L::load_ints(operands + L::n);
        for (auto &sum : sums) {
            sum = L::begin(L::no_ints(), a, b);
        }
        for (int64_t round = 0; round < n; ++round) {
            for (auto &sum : sums) {
                sum = L::more(sum, a, b);
            }
        }
        auto total = L::no_ints();
        for (const auto &sum : sums) {
            total = L::finish(total, sum);
        }
        alignas(64) int32_t out[L::n];
        L::store_ints(out, total);
        return static_cast<float>(out[0]);
    }

    // Types with offsets, and with two scales, have the widest panels.
    union Widest {
        typename BytesStrip<L, GGML_TYPE_Q4_1>::Part with_offsets;
        typename BytesStrip<L, GGML_TYPE_Q6_K>::Part with_halves;
    };

    static constexpr MatmulKernel kernel() {
        return {1,
                sizeof(RoundedPiece),
                k_tile_rows * sizeof(RoundedPiece),
                L::k_strip_panels,
                L::k_strip_panels * k_piece_parts * sizeof(Widest),
                pack,
                multiply,
                gated<typename L::Lanes>,
                2.0 * 4 * L::n * k_sums_of_round,
                run_rounds};
    }
};

}  // namespace
}  // namespace orthorank
