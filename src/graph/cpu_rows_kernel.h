// What a level of the processor does for cpu_rows(), as plain functions over memory: rows of
// activations in 8 bits, and weight rows times a few of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml.h"

namespace orthorank {

constexpr int k_block_k = 32;  // numbers that share a scale

struct RowsTask {
    ggml_type type;        // of the weights
    const char *weights;   // the first row
    size_t weight_stride;  // bytes
    int64_t n_weights;     // rows of them
    int64_t n_k;           // a multiple of k_block_k
    const char *rows;      // of activations, quantised
    int64_t n_rows;
    float *out;         // of the first weight row, for the first row of activations
    size_t out_stride;  // floats from row to row of activations
};

struct RowsKernel {
    // Of one quantised row; a multiple of a cache line.
    size_t (*row_bytes)(int64_t n_k);
    // x / sqrt(mean of squares + eps) * weight -> y
    void (*normalise)(const float *x, const float *weight, float eps, int64_t n_k, float *y);
    // Blocks of 32 numbers: their largest / 127 is the scale, as in ggml's Q8_1 but not rounded.
    void (*quantise)(const float *x, int64_t n_k, char *row);
    void (*multiply)(const RowsTask &task);
    // silu(gate) * up -> out; n: any
    void (*gate)(const float *gate, const float *up, int64_t n, float *out);
};

extern const RowsKernel k_rows_avx2;
extern const RowsKernel k_rows_avx512;

}  // namespace orthorank
