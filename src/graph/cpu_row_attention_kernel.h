// What a level of the processor does for cpu_row_attention(): the query heads of one head of keys
// and values over some of a row's keys, and such parts brought together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml.h"

namespace orthorank {

struct RowAttentionTask {
    ggml_type type;  // of keys and values: F16 or F32
    int n_heads;
    int64_t dim_k;  // multiples of 16
    int64_t dim_v;
    float scale;
    const float *queries;  // [dim_k, n_heads]
    size_t query_stride;   // floats
    const char *keys;
    size_t key_stride;  // bytes
    const char *values;
    size_t value_stride;
    const uint16_t *mask;  // halves: 0 or -infinity
    int n_keys;            // at most k_keys_of_part
    float *parts;          // [2 + dim_v, n_heads]
};

constexpr int k_keys_of_part = 128;

struct RowAttentionKernel {
    // A part of each head: the largest score (-infinity: it sees no key), the sum of exponentials
    // beside it, and that of values.
    void (*attend)(const RowAttentionTask &task);
    // n_parts of one head, part_stride floats apart: what they make together, with a logit beside
    // the scores that has no value (-infinity: none). 0 without a key.
    void (*merge)(const float *parts, int64_t n_parts, size_t part_stride, float sink,
                  int64_t dim_v, float *out);
};

extern const RowAttentionKernel k_row_attention_avx2;
extern const RowAttentionKernel k_row_attention_avx512;

}  // namespace orthorank
