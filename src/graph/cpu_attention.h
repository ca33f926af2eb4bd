// Attention of many rows on a CPU, in place of ggml's flash attention: the same numbers to the bit
// (ggml's tiled kernel and this one sum in the same order) in about half the time. Lanes are
// queries rather than keys, so that neither the keys need transposing nor maxima and sums reducing
// across a register; keys and values are converted once for all the query heads that share them;
// keys behind the last one that a group of rows sees are left out. FlashAttention's running
// softmax: Dao et al. 2022 (arXiv 2205.14135), algorithm 1.
#pragma once

#include "ggml.h"

namespace orthorank {

// Floats in the widest register of this processor that there is a kernel for: 16 (AVX-512), 8
// (AVX2), or 0: none.
int widest_lanes();

// Does cpu_attention() compute this, and ggml by the same sums? q [head_dim_k, n_head, n_rows], k
// [head_dim_k, n_kv, n_head_kv], v [head_dim_v, n_kv, n_head_kv], mask [n_kv, n_rows]. It wants K
// and V as F16 or F32 in a CPU's memory, head sizes and n_kv that divide by its tiles, and at least
// 64 rows: below that ggml takes a kernel that rounds otherwise.
bool fits_cpu_attention(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v);

// softmax(scale q k + mask) v as one node (GGML_OP_CUSTOM), F32 [head_dim_v, n_head,
// n_rows]: shapes as above, q F32, mask F16, 0 or -infinity; 0 for a row that sees no key. n_lanes:
// 8 or 16, at most widest_lanes(). scale 0: 1 / sqrt(head_dim_k). sinks: F32 [n_head] or null, a
// logit per head that takes part in the softmax and has no value.
ggml_tensor *cpu_attention(ggml_context *ctx, ggml_tensor *q, ggml_tensor *k, ggml_tensor *v,
                           ggml_tensor *mask, int n_lanes = widest_lanes(), float scale = 0.0f,
                           ggml_tensor *sinks = nullptr);

}  // namespace orthorank
