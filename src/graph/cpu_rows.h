// Products of matrices with a few rows of activations on a CPU (decode, short prompts), in place of
// ggml's: one node does what takes ggml up to eight, each of which all threads wait for: the norm
// before, several matrices of the same rows, biases, the gate of a feed-forward or the addition
// behind. Activations are rounded to 8 bits in blocks of 32, once for all of a node's matrices, and
// meet the weights as the file has them.
#pragma once

#include <vector>

#include "ggml.h"
#include "graph/cpu_level.h"

namespace orthorank {

// Does cpu_rows() multiply with this matrix [n_k, n_out]? It wants one of Q4_0, Q4_1, Q5_0, Q5_1,
// Q8_0 and IQ4_NL as the file has it, in a CPU's memory, and n_k divisible by 32. (ggml's kernels
// for the K types have one scale for 256 activations and are as fast with one row.)
bool fits_cpu_rows(const ggml_tensor *weight);

// Rows x [n_k, n_rows], F32; norm_weight: they are RMS-normed and multiplied with it first.
struct RowsInput {
    ggml_tensor *x = nullptr;
    ggml_tensor *norm_weight = nullptr;
    float eps = 0;
};

struct RowsMatrix {
    ggml_tensor *weight = nullptr;  // [n_k, n_out]
    ggml_tensor *bias = nullptr;    // F32 [n_out], or null
};

// Each is one node (GGML_OP_CUSTOM), F32; a row's numbers do not depend on the rows beside it, nor
// on the threads. level: not none, at most best_cpu_level().
// One to three matrices: [sum of n_out, n_rows], one below the other.
ggml_tensor *cpu_rows(ggml_context *ctx, CpuLevel level, const std::vector<RowsMatrix> &matrices,
                      const RowsInput &input);
// residual [n_out, n_rows] + the product.
ggml_tensor *cpu_rows_onto(ggml_context *ctx, CpuLevel level, const RowsMatrix &matrix,
                           const RowsInput &input, ggml_tensor *residual);
// silu(gate's product) * up's product: [n_out, n_rows].
ggml_tensor *cpu_rows_gated(ggml_context *ctx, CpuLevel level, const RowsMatrix &gate,
                            const RowsMatrix &up, const RowsInput &input);

}  // namespace orthorank
