// What a level of the processor does for cpu_matmul(), as plain functions over memory: packing rows
// of activations into tiles, and a strip of weight rows times many of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml.h"

namespace orthorank {

constexpr int k_tile_rows = 16;   // of a tile of activations, and weight rows of half a panel
constexpr int k_tile_k = 32;      // of their numbers
constexpr int k_panel_rows = 32;  // weight rows
constexpr int k_group_rows = 32;  // activation rows that a panel meets at once: two tiles

struct StripTask {
    ggml_type type;        // of the weights
    const char *weights;   // the strip's first row
    size_t weight_stride;  // bytes
    int n_weight_rows;     // at most n_strip_panels * k_panel_rows
    int64_t n_k;           // a multiple of k_tile_k
    const char *tiles;     // the activations, [n_k / k_tile_k] tiles for each k_tile_rows rows
    int64_t first_row;     // a multiple of k_group_rows
    int64_t end_row;
    char *out;          // the strip's first column in the row 0
    size_t out_stride;  // bytes from row to row
    void *scratch;      // scratch_bytes, in cache lines
};

struct MatmulKernel {
    // A tile is [n_parts][k_tile_rows] pieces of rows.
    int n_parts;
    size_t piece_bytes;
    size_t tile_bytes;   // of a tile of activations
    int n_strip_panels;  // at most, of a task
    size_t scratch_bytes;
    // One row of n_k floats to row `row` of its tiles; null: zeros.
    void (*pack)(const float *x, int64_t n_k, int row, char *tiles);
    void (*multiply)(const StripTask &task);
    // silu(gate) * up -> out, which may be one of them; n: any
    void (*gate)(const float *gate, const float *up, int64_t n, float *out);
    // Rounds of the level's product, as many at once as hide its latency, with every operand in a
    // register: what no product can exceed. operands: k_round_words in cache lines; the sums' first
    // number, so that they are computed.
    double round_flops;
    float (*run_rounds)(const uint32_t *operands, int64_t n);
};

constexpr size_t k_round_words = 1024;
constexpr int k_sums_of_round = 10;

extern const MatmulKernel k_matmul_avx2;
extern const MatmulKernel k_matmul_bytes_avx2;
extern const MatmulKernel k_matmul_avx512;
extern const MatmulKernel k_matmul_bytes_avx512;
extern const MatmulKernel k_matmul_avx512_bf16;
extern const MatmulKernel k_matmul_amx;
extern const MatmulKernel k_matmul_split_amx;

}  // namespace orthorank
