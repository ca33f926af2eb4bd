// Registers of floats for our own kernels, one struct a width: plain names for the processor's
// instructions. The two round exponentials differently, as ggml does at these widths. Each file
// that includes this has its own copy.
#pragma once

#include <cstdint>
#include <cstring>

#include <immintrin.h>

namespace orthorank {
namespace {

struct Lanes8 {
    using Vec = __m256;
    static constexpr int n = 8;
    static constexpr int n_keys_at_once = 4;    // of the first product, by two registers of queries
    static constexpr int n_values_at_once = 2;  // registers of the second, by four queries

    static Vec load(const float *x) { return _mm256_loadu_ps(x); }
    static Vec load_f16(const uint16_t *x) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(x)));
    }
    // n numbers of 16 bits: which are zero, two bits each
    static unsigned zeros(const uint16_t *x) {
        const __m128i loaded = _mm_loadu_si128(reinterpret_cast<const __m128i *>(x));
        return static_cast<unsigned>(
            _mm_movemask_epi8(_mm_cmpeq_epi16(loaded, _mm_setzero_si128())));
    }
    static constexpr unsigned all_zero = 0xffff;
    static void store(float *y, Vec x) { _mm256_storeu_ps(y, x); }
    static Vec set(float x) { return _mm256_set1_ps(x); }
    static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
    static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
    static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
    static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }    // a b + c
    static Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
    // (1 + c b + high u) 2^n; n whole, at most 0, or NaN. 0 below 2^-126, where ggml has
    // denormals: beside a sum of at least 1 they are lost but where values are 0.
    static Vec scaled(Vec high, Vec u, Vec c, Vec b, Vec n_) {
        const Vec j = fma(high, u, mul(c, b));
        const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n_), _mm256_set1_epi32(127));
        const Vec power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
        const Vec is_in_range = _mm256_cmp_ps(n_, set(-127.0f), _CMP_NLE_UQ);
        return _mm256_and_ps(is_in_range, fma(j, power, power));
    }
};

// Lane i: the sum of x[i]'s lanes.
inline __m256 sums_of_lanes(const __m256 *x) {
    __m256 quarters[2];
    for (int i = 0; i < 2; ++i) {
        const __m256 *of = x + 4 * i;
        const __m256 a =
            _mm256_add_ps(_mm256_unpacklo_ps(of[0], of[1]), _mm256_unpackhi_ps(of[0], of[1]));
        const __m256 b =
            _mm256_add_ps(_mm256_unpacklo_ps(of[2], of[3]), _mm256_unpackhi_ps(of[2], of[3]));
        quarters[i] = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(quarters[0], quarters[1], 0x20),
                         _mm256_permute2f128_ps(quarters[0], quarters[1], 0x31));
}

#ifdef __AVX512F__
inline __m512 sums_of_lanes(const __m512 *x) {
    __m512 quarters[4];
    for (int i = 0; i < 4; ++i) {
        const __m512 *of = x + 4 * i;
        const __m512 a =
            _mm512_add_ps(_mm512_unpacklo_ps(of[0], of[1]), _mm512_unpackhi_ps(of[0], of[1]));
        const __m512 b =
            _mm512_add_ps(_mm512_unpacklo_ps(of[2], of[3]), _mm512_unpackhi_ps(of[2], of[3]));
        quarters[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    }
    __m512 halves[2];
    for (int i = 0; i < 2; ++i) {
        const __m512 a = quarters[2 * i], b = quarters[2 * i + 1];
        halves[i] =
            _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    return _mm512_add_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                         _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}

struct Lanes16 {
    using Vec = __m512;
    static constexpr int n = 16;
    static constexpr int n_keys_at_once = 8;
    static constexpr int n_values_at_once = 4;

    static Vec load(const float *x) { return _mm512_loadu_ps(x); }
    static Vec load_f16(const uint16_t *x) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(x)));
    }
    static unsigned zeros(const uint16_t *x) {
        const __m256i loaded = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(x));
        return static_cast<unsigned>(
            _mm256_movemask_epi8(_mm256_cmpeq_epi16(loaded, _mm256_setzero_si256())));
    }
    static constexpr unsigned all_zero = 0xffffffff;
    static void store(float *y, Vec x) { _mm512_storeu_ps(y, x); }
    static Vec set(float x) { return _mm512_set1_ps(x); }
    static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
    static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
    static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
    static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
    static Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
    // The same with numbers below 2^-126.
    static Vec scaled(Vec high, Vec u, Vec c, Vec b, Vec n_) {
        const Vec j = fma(high, u, fma(c, b, set(1.0f)));
        const __mmask16 is_in_range = _mm512_cmp_ps_mask(n_, set(-192.0f), _CMP_NLE_UQ);
        return _mm512_maskz_scalef_ps(is_in_range, j, n_);
    }
};
#endif

// e^x for x <= 0 as ggml's vectors have it: a polynomial of the part beside whole powers of two
// (coefficients of Arm's optimized routines, expf).
template <typename L>
typename L::Vec exponential(typename L::Vec x) {
    using Vec = typename L::Vec;
    const Vec shift = L::set(0x1.8p23f);
    const Vec n = L::sub(L::fma(x, L::set(0x1.715476p+0f), shift), shift);
    const Vec b = L::fnma(n, L::set(0x1.7f7d1cp-20f), L::fnma(n, L::set(0x1.62e4p-1f), x));
    const Vec u = L::mul(b, b);
    const Vec high = L::fma(L::fma(L::set(0x1.0e4020p-7f), b, L::set(0x1.573e2ep-5f)), u,
                            L::fma(L::set(0x1.555e66p-3f), b, L::set(0x1.fffdb6p-2f)));
    return L::scaled(high, u, L::set(0x1.ffffecp-1f), b, n);
}

// silu(gate) * up -> out; n: any.
template <typename L>
void gated(const float *gate, const float *up, int64_t n, float *out) {
    using Vec = typename L::Vec;
    const Vec zero = L::set(0.0f);
    int64_t i = 0;
    for (; i + L::n <= n; i += L::n) {
        const Vec x = L::load(gate + i);
        // e^min(x, 0) and e^min(-x, 0): neither overflows.
        const Vec a = exponential<L>(L::sub(zero, L::max(L::sub(zero, x), zero)));
        const Vec b = exponential<L>(L::sub(zero, L::max(x, zero)));
        const Vec silu = L::mul(x, L::div(a, L::add(a, b)));
        L::store(out + i, L::mul(silu, L::load(up + i)));
    }
    if (i < n) {  // likewise in memory that has the room
        float padded[3][L::n] = {};
        std::memcpy(padded[0], gate + i, static_cast<size_t>(n - i) * sizeof(float));
        std::memcpy(padded[1], up + i, static_cast<size_t>(n - i) * sizeof(float));
        gated<L>(padded[0], padded[1], L::n, padded[2]);
        std::memcpy(out + i, padded[2], static_cast<size_t>(n - i) * sizeof(float));
    }
}

}  // namespace
}  // namespace orthorank
