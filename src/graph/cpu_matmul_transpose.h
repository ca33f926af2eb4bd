// A 16 x 16 block of 32-bit words, its rows made its columns, for the AVX-512 levels of
// cpu_matmul(); each file has its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace orthorank {
namespace {

inline void store_transposed(const __m512i *rows, uint32_t *to) {
    __m512i t[16], u[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // u[4 i + j] has in its quarter q column 4 q + j of rows 4 i ..
    for (int j = 0; j < 4; ++j) {
        const __m512i even_top = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88);
        const __m512i even_low = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88);
        const __m512i odd_top = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);
        const __m512i odd_low = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
        _mm512_store_si512(to + 16 * j, _mm512_shuffle_i32x4(even_top, even_low, 0x88));
        _mm512_store_si512(to + 16 * (j + 4), _mm512_shuffle_i32x4(odd_top, odd_low, 0x88));
        _mm512_store_si512(to + 16 * (j + 8), _mm512_shuffle_i32x4(even_top, even_low, 0xdd));
        _mm512_store_si512(to + 16 * (j + 12), _mm512_shuffle_i32x4(odd_top, odd_low, 0xdd));
    }
}

}  // namespace
}  // namespace orthorank
