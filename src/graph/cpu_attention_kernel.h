// What a level of the processor does for cpu_attention(): one group of rows with the query heads of
// one head of keys and values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml.h"

namespace orthorank {

constexpr int k_max_dim_k = 256;
constexpr int k_keys_of_tile = 64;  // ggml's, and so the order of its sums

// Where the nodes of attention keep the F32 number that multiplies products of queries and keys:
// behind ggml's own parameters of a custom node, before the counts of tickets.
constexpr size_t k_scale_slot = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 3;

struct AttentionKernel {
    int n_queries;  // rows of a group
    size_t (*scratch_bytes)(const ggml_tensor *node);
    // The group from first_row on; scratch in cache lines.
    void (*compute)(ggml_tensor *node, int64_t first_row, int64_t kv_head, void *scratch);
};

extern const AttentionKernel k_attention_avx2;    // registers of 8 floats
extern const AttentionKernel k_attention_avx512;  // of 16

}  // namespace orthorank
