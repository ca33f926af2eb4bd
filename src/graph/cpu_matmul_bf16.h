// Words of two bfloat16 numbers, for the levels of cpu_matmul() that multiply those; each file has
// its own copy.
#pragma once

#include "graph/cpu_matmul_panel.h"
#include "graph/cpu_matmul_transpose.h"

namespace orthorank {
namespace {

struct Bf16Words {
    using Lanes = Lanes16;
    using Types = TypesOfWeights<GGML_TYPE_BF16>;
    static constexpr int k_words = k_tile_k / 2;
    static constexpr int k_parts = 1;
    static constexpr int k_strip_panels = 6;

    static __m512i rounded(const float *x) {
        return reinterpret_cast<__m512i>(
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x)));
    }
    static void pack(const float *x, uint32_t *to) { _mm512_storeu_si512(to, rounded(x)); }
    static void to_words(const float (*y)[k_unpacked], uint32_t *words) {
        __m512i rows[k_tile_rows];
        for (int i = 0; i < k_tile_rows; ++i) {
            rows[i] = rounded(y[i]);
        }
        store_transposed(rows, words);
    }
};

// The same with what rounding leaves as a second part, rounded too: 16 bits of each number.
struct SplitBf16Words {
    using Lanes = Lanes16;
    using Types = TypesOfWeights<GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                 GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                                 GGML_TYPE_Q6_K>;
    static constexpr int k_words = Bf16Words::k_words;
    static constexpr int k_parts = 2;
    static constexpr int k_strip_panels = 4;
    static constexpr int k_words_of_part = k_tile_rows * k_words;

    static __m512 as_floats(__m256i bf16) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
    }
    static void split(const float *x, __m512i &high, __m512i &low) {
        high = Bf16Words::rounded(x);
        alignas(64) float rest[k_tile_k];
        _mm512_store_ps(rest,
                        _mm512_sub_ps(_mm512_loadu_ps(x), as_floats(_mm512_castsi512_si256(high))));
        _mm512_store_ps(rest + 16, _mm512_sub_ps(_mm512_loadu_ps(x + 16),
                                                 as_floats(_mm512_extracti64x4_epi64(high, 1))));
        low = Bf16Words::rounded(rest);
    }
    static void pack(const float *x, uint32_t *to) {
        __m512i high, low;
        split(x, high, low);
        _mm512_storeu_si512(to, high);
        _mm512_storeu_si512(to + k_words_of_part, low);
    }
    static void to_words(const float (*y)[k_unpacked], uint32_t *words) {
        __m512i high[k_tile_rows], low[k_tile_rows];
        for (int i = 0; i < k_tile_rows; ++i) {
            split(y[i], high[i], low[i]);
        }
        store_transposed(high, words);
        store_transposed(low, words + k_words_of_part);
    }
};

}  // namespace
}  // namespace orthorank
