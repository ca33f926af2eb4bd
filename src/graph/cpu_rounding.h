// Activations rounded to 8 bits in blocks of 32, for cpu_rows() and for cpu_matmul() with panels of
// 8 bits: the same numbers in both, and at any level. Included by the files of a level alone, each
// of which has its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace orthorank {
namespace {

constexpr int k_rounded = 32;  // numbers that share a scale

// 16 numbers times `inverse`, rounded; their sum.
#ifdef __AVX512F__
inline int round_sixteen(const float *x, float inverse, int8_t *to) {
    const __m512i rounded =
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(inverse)));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_cvtsepi32_epi8(rounded));
    return _mm512_reduce_add_epi32(rounded);
}
#else
inline int round_sixteen(const float *x, float inverse, int8_t *to) {
    const __m256 by = _mm256_set1_ps(inverse);
    const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), by));
    const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), by));
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), bytes);
    const __m256i eight = _mm256_add_epi32(a, b);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
#endif

// A block is scale x its rounded numbers; the scale is the largest / 127, as in ggml's Q8_1 but
// not rounded.
struct RoundedBlock {
    float scale;
    int sum;  // of the rounded numbers
};

// The first 16 of x [32] go to low, the others to high. The largest magnitude is found among the
// bits, where an infinity is above all numbers and NaN above that: both come out again.
inline RoundedBlock round_block(const float *x, int8_t *low, int8_t *high) {
    uint32_t largest_bits = 0;
    for (int i = 0; i < k_rounded; ++i) {
        uint32_t bits;
        std::memcpy(&bits, x + i, sizeof(bits));
        bits &= 0x7fffffffu;
        largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof(largest));
    const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    const int sum = round_sixteen(x, inverse, low) + round_sixteen(x + 16, inverse, high);
    return {largest / 127.0f, sum};
}

}  // namespace
}  // namespace orthorank
