// Products of matrices with many rows of activations on a CPU, in place of ggml's, which for most
// types has dot products alone and unpacks a weight again for every row. Here a thread unpacks a
// panel of 32 weight rows once, keeps it in its second cache, and multiplies it with all rows.
// Activations are packed once for all the products that read them.
#pragma once

#include <map>
#include <utility>

#include "ggml.h"
#include "graph/cpu_level.h"

namespace orthorank {

// Does cpu_matmul() multiply with this matrix [n_k, n_out]? It wants one of BF16, Q4_0, Q4_1, Q5_0,
// Q5_1, Q8_0, IQ4_NL, Q4_K, Q5_K and Q6_K as the file has it, in a CPU's memory, and n_k divisible
// by 32.
bool fits_cpu_matmul(const ggml_tensor *weight);

struct MatmulKernel;

// The products of one graph at one level, not none. Rows of activations are packed by a node of
// their own (I8), which the products of the same rows share.
class CpuMatmul {
 public:
    explicit CpuMatmul(CpuLevel level) : level_(level) {}

    // weight [n_k, n_out] x x [n_k, n_rows], F32, as one node (GGML_OP_CUSTOM) and where they are
    // new one that packs the rows: F32 [n_out, n_rows]. Sums are F32. x is rounded to BF16, as in
    // ggml, where the weights are that and the level multiplies it; below AMX to 8 bits in blocks
    // of 32, as in cpu_rows(), where they are quantised (with AVX2 to at most 6 bits). A row's
    // numbers do not depend on the rows beside it, nor on the threads. Not for a level that the
    // processor lacks.
    ggml_tensor *multiply(ggml_context *ctx, ggml_tensor *weight, ggml_tensor *x);
    // silu(gate x) * (up x) as one node: both [n_k, n_out]. Needs fits_gated().
    ggml_tensor *multiply_gated(ggml_context *ctx, ggml_tensor *gate, ggml_tensor *up,
                                ggml_tensor *x);
    // Are they of one shape, and of types that one kernel multiplies?
    bool fits_gated(const ggml_tensor *gate, const ggml_tensor *up) const;
    // Likewise in place of ggml_mul_mat_id(): weights [n_k, n_out, n_expert], x [n_k, 1 or n_used,
    // n], contiguous, ids I32 [n_used, n]: F32 [n_out, n_used, n]. Rows are grouped by expert.
    ggml_tensor *multiply_id(ggml_context *ctx, ggml_tensor *weights, ggml_tensor *x,
                             ggml_tensor *ids);

 private:
    ggml_tensor *pack(ggml_context *ctx, ggml_tensor *x, const MatmulKernel &kernel);

    CpuLevel level_;
    std::map<std::pair<const ggml_tensor *, const MatmulKernel *>, ggml_tensor *> packed_;
};

}  // namespace orthorank
