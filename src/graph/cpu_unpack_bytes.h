// 32 consecutive weights of a row as 8-bit numbers with the scales that the file has, by type:
// ggml's block formats (ggml-quants.c describes them). Numbers of 4 to 6 bits are centred on zero,
// which is the least that sums of 16 bits can hold. Included by the files of a level alone, each of
// which has its own copy.
#pragma once

#include <immintrin.h>

#include "graph/cpu_unpack.h"

namespace orthorank {
namespace {

// A weight is scale x number + offset; with two scales each belongs to 16 numbers.
struct BlockScales {
    float scales[2];
    float offset;  // of types that have a minimum
};

// One struct a type: how wide its numbers are, and read(), which gives the 32 from 32 `part` on of
// the row at `row`.
template <ggml_type type>
struct Bytes;

template <int bits, bool has_min = false, int scales = 1>
struct ByteTraits {
    static constexpr int n_bits = bits;
    static constexpr int n_scales = scales;
    static constexpr bool has_offset = has_min;
};

inline __m256i load_bytes(const uint8_t *x) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(x));
}

inline __m256i low_four_bits(__m256i x) {
    return _mm256_and_si256(x, _mm256_set1_epi8(15));
}

// The low halves of 16 bytes, then the high ones: 0 to 15.
inline __m256i nibbles_at(const uint8_t *x) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i *>(x));
    return low_four_bits(_mm256_setr_m128i(packed, _mm_srli_epi16(packed, 4)));
}

inline __m256i less(__m256i x, char by) {
    return _mm256_sub_epi8(x, _mm256_set1_epi8(by));
}

// Nibbles and a fifth bit less 16: the nibble where the bit is set, the nibble - 16 elsewhere.
inline __m256i with_fifth_bit(__m256i nibbles, __m256i all_ones_where_set) {
    return _mm256_or_si256(nibbles, _mm256_andnot_si256(all_ones_where_set, _mm256_set1_epi8(-16)));
}

inline __m256i where_all_set(__m256i x, __m256i bits) {
    return _mm256_cmpeq_epi8(_mm256_and_si256(x, bits), bits);
}

// All ones in the bytes whose bit is set.
inline __m256i bytes_of_bits(uint32_t bits) {
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    return where_all_set(_mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of),
                         bit_of);
}

template <>
struct Bytes<GGML_TYPE_Q4_0> : ByteTraits<4> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 18;
        by.scales[0] = half_at(block);
        return less(nibbles_at(block + 2), 8);
    }
};

template <>
struct Bytes<GGML_TYPE_Q4_1> : ByteTraits<4, true> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 20;
        by.scales[0] = half_at(block);
        by.offset = half_at(block + 2) + 8.0f * by.scales[0];
        return less(nibbles_at(block + 4), 8);
    }
};

template <>
struct Bytes<GGML_TYPE_Q5_0> : ByteTraits<5> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 22;
        by.scales[0] = half_at(block);
        return with_fifth_bit(nibbles_at(block + 6), bytes_of_bits(word_at(block + 2)));
    }
};

template <>
struct Bytes<GGML_TYPE_Q5_1> : ByteTraits<5, true> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 24;
        by.scales[0] = half_at(block);
        by.offset = half_at(block + 2) + 16.0f * by.scales[0];
        return with_fifth_bit(nibbles_at(block + 8), bytes_of_bits(word_at(block + 4)));
    }
};

template <>
struct Bytes<GGML_TYPE_Q8_0> : ByteTraits<8> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 34;
        by.scales[0] = half_at(block);
        return load_bytes(block + 2);
    }
};

template <>
struct Bytes<GGML_TYPE_IQ4_NL> : ByteTraits<8> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part * 18;
        by.scales[0] = half_at(block);
        const __m128i values =
            _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles_at(block + 2));
    }
};

// A Q4_K or Q5_K block's part, whose numbers count from -`middle`.
inline void set_scales(const uint8_t *block, int part, float middle, BlockScales &by) {
    const ScaleMin of_part = scale_min_of(block, part);
    by.scales[0] = of_part.scale;
    by.offset = middle * of_part.scale - of_part.min;
}

template <>
struct Bytes<GGML_TYPE_Q4_K> : ByteTraits<4, true> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part / 8 * 144;
        const int of_block = static_cast<int>(part % 8);
        set_scales(block, of_block, 8.0f, by);
        const __m256i q = load_bytes(block + 16 + of_block / 2 * 32);
        return less(low_four_bits(_mm256_srli_epi16(q, of_block % 2 * 4)), 8);
    }
};

template <>
struct Bytes<GGML_TYPE_Q5_K> : ByteTraits<5, true> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part / 8 * 176;
        const int of_block = static_cast<int>(part % 8);
        set_scales(block, of_block, 16.0f, by);
        const __m256i q = load_bytes(block + 48 + of_block / 2 * 32);
        const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << of_block));
        return with_fifth_bit(low_four_bits(_mm256_srli_epi16(q, of_block % 2 * 4)),
                              where_all_set(load_bytes(block + 16), bit));
    }
};

template <>
struct Bytes<GGML_TYPE_Q6_K> : ByteTraits<6, false, 2> {
    static __m256i read(const uint8_t *row, int64_t part, BlockScales &by) {
        const uint8_t *block = row + part / 8 * 210;
        const int half = static_cast<int>(part % 8) / 4;
        const int of_half = static_cast<int>(part % 4);
        const auto *scales = reinterpret_cast<const int8_t *>(block + 192 + 8 * half + 2 * of_half);
        const float d = half_at(block + 208);
        by.scales[0] = d * static_cast<float>(scales[0]);
        by.scales[1] = d * static_cast<float>(scales[1]);
        const __m256i low = load_bytes(block + 64 * half + of_half % 2 * 32);
        const __m256i high = load_bytes(block + 128 + 32 * half);
        const __m256i two =
            _mm256_and_si256(_mm256_srli_epi16(high, 2 * of_half), _mm256_set1_epi8(3));
        const __m256i four = low_four_bits(_mm256_srli_epi16(low, of_half / 2 * 4));
        return less(_mm256_or_si256(four, _mm256_slli_epi16(two, 4)), 32);
    }
};

}  // namespace
}  // namespace orthorank
