// Attention of a few rows on a CPU, in place of ggml's flash attention, which for one row reads
// keys and values again for each query head and sums values in 16 bits. Here the query heads that
// share keys and values take them together, in floats; threads share a row's keys in parts of 128.
// What comes out does not depend on the threads, nor on the rows beside.
#pragma once

#include "ggml.h"
#include "graph/cpu_level.h"

namespace orthorank {

// Does cpu_row_attention() compute this? It wants keys and values as F16 or F32 in a CPU's memory
// and head sizes that divide by 16. k: [head_dim_k, n_kv, n_head_kv, n_slots], v likewise.
bool fits_cpu_row_attention(const ggml_tensor *k, const ggml_tensor *v);

// Are these rows few enough for it? Its node has a part for each row and 128 keys, which one thread
// sums in the end: at most 128 MiB, which rows of wide heads far into a context pass by far. Shapes
// as below.
bool are_few_rows(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v);

// softmax(scale q k + mask) v as one node (GGML_OP_CUSTOM): F32 [head_dim_v * n_head,
// n_rows], 0 for a row that sees no key. q F32 [head_dim_k, n_head, n_rows], numbers of a head side
// by side. Without slot_of_row all rows look at slot 0 and the mask is F16 [n_kv, n_rows]; with it
// (I32 [n_rows]) a row looks at its slot and at that slot's mask, F16 [n_kv, 1, 1, n_slots]. 0 or
// -infinity. level: not none, at most best_cpu_level(). scale 0: 1 / sqrt(head_dim_k). sinks: F32
// [n_head] or null, a logit per head that takes part in the softmax and has no value.
ggml_tensor *cpu_row_attention(ggml_context *ctx, CpuLevel level, ggml_tensor *q, ggml_tensor *k,
                               ggml_tensor *v, ggml_tensor *mask,
                               ggml_tensor *slot_of_row = nullptr, float scale = 0.0f,
                               ggml_tensor *sinks = nullptr);

}  // namespace orthorank
