// 32 consecutive weights of a row as floats, by type: ggml's block formats (ggml-quants.c describes
// them). Plain loops that the compiler makes vectors of; included by the files of a level alone,
// each of which has its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "ggml.h"

namespace orthorank {
namespace {

constexpr int k_unpacked = 32;

inline float half_at(const uint8_t *x) {
    uint16_t half;
    std::memcpy(&half, x, sizeof(half));
    return _cvtsh_ss(half);
}

inline uint32_t word_at(const uint8_t *x) {
    uint32_t word;
    std::memcpy(&word, x, sizeof(word));
    return word;
}

// y[i] = scale q[i] + offset, q in 4 bits: the low halves of 16 bytes, then the high ones.
inline void unpack_nibbles(const uint8_t *q, float scale, float offset, float *y) {
    for (int i = 0; i < 16; ++i) {
        y[i] = scale * static_cast<float>(q[i] & 15) + offset;
        y[i + 16] = scale * static_cast<float>(q[i] >> 4) + offset;
    }
}

// The same with a fifth bit each from `high`.
inline void unpack_fives(const uint8_t *q, uint32_t high, float scale, float offset, float *y) {
    for (int i = 0; i < 16; ++i) {
        const uint32_t low_bit = (high >> i) & 1;
        const uint32_t high_bit = (high >> (i + 16)) & 1;
        y[i] =
            scale * static_cast<float>(static_cast<int32_t>((q[i] & 15u) | low_bit << 4)) + offset;
        y[i + 16] =
            scale * static_cast<float>(static_cast<int32_t>((q[i] >> 4u) | high_bit << 4)) + offset;
    }
}

// Scale and minimum, 6 bits each, of the eight parts of a Q4_K or Q5_K block.
struct ScaleMin {
    float scale, min;
};

inline ScaleMin scale_min_of(const uint8_t *block, int part) {
    const uint8_t *packed = block + 4;
    int scale, min;
    if (part < 4) {
        scale = packed[part] & 63;
        min = packed[part + 4] & 63;
    } else {
        scale = (packed[part + 4] & 15) | (packed[part - 4] >> 6) << 4;
        min = (packed[part + 4] >> 4) | (packed[part] >> 6) << 4;
    }
    return {half_at(block) * static_cast<float>(scale),
            half_at(block + 2) * static_cast<float>(min)};
}

// One struct a type: unpack() gives the 32 weights from 32 `part` on of the row at `row`.
template <ggml_type type>
struct Unpacker;

template <>
struct Unpacker<GGML_TYPE_BF16> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *x = row + part * 64;
        for (int i = 0; i < k_unpacked; ++i) {
            uint16_t high;
            std::memcpy(&high, x + 2 * i, sizeof(high));
            const uint32_t bits = static_cast<uint32_t>(high) << 16;
            std::memcpy(y + i, &bits, sizeof(bits));
        }
    }
};

template <>
struct Unpacker<GGML_TYPE_Q4_0> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 18;
        const float d = half_at(block);
        unpack_nibbles(block + 2, d, -8.0f * d, y);
    }
};

template <>
struct Unpacker<GGML_TYPE_Q4_1> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 20;
        unpack_nibbles(block + 4, half_at(block), half_at(block + 2), y);
    }
};

template <>
struct Unpacker<GGML_TYPE_Q5_0> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 22;
        const float d = half_at(block);
        unpack_fives(block + 6, word_at(block + 2), d, -16.0f * d, y);
    }
};

template <>
struct Unpacker<GGML_TYPE_Q5_1> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 24;
        unpack_fives(block + 8, word_at(block + 4), half_at(block), half_at(block + 2), y);
    }
};

template <>
struct Unpacker<GGML_TYPE_Q8_0> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 34;
        const float d = half_at(block);
        const auto *q = reinterpret_cast<const int8_t *>(block + 2);
        for (int i = 0; i < k_unpacked; ++i) {
            y[i] = d * static_cast<float>(q[i]);
        }
    }
};

template <>
struct Unpacker<GGML_TYPE_IQ4_NL> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part * 18;
        const float d = half_at(block);
        const __m128i values =
            _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
        const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i *>(block + 2));
        const __m128i low_bits = _mm_set1_epi8(15);
        alignas(16) int8_t q[k_unpacked];
        _mm_store_si128(reinterpret_cast<__m128i *>(q),
                        _mm_shuffle_epi8(values, _mm_and_si128(packed, low_bits)));
        _mm_store_si128(
            reinterpret_cast<__m128i *>(q + 16),
            _mm_shuffle_epi8(values, _mm_and_si128(_mm_srli_epi16(packed, 4), low_bits)));
        for (int i = 0; i < k_unpacked; ++i) {
            y[i] = d * static_cast<float>(q[i]);
        }
    }
};

template <>
struct Unpacker<GGML_TYPE_Q4_K> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part / 8 * 144;
        const int of_block = static_cast<int>(part % 8);
        const ScaleMin by = scale_min_of(block, of_block);
        const uint8_t *q = block + 16 + of_block / 2 * 32;
        const int shift = of_block % 2 * 4;
        for (int i = 0; i < k_unpacked; ++i) {
            y[i] = by.scale * static_cast<float>((q[i] >> shift) & 15) - by.min;
        }
    }
};

template <>
struct Unpacker<GGML_TYPE_Q5_K> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part / 8 * 176;
        const int of_block = static_cast<int>(part % 8);
        const ScaleMin by = scale_min_of(block, of_block);
        const uint8_t *high = block + 16;
        const uint8_t *q = block + 48 + of_block / 2 * 32;
        const int shift = of_block % 2 * 4;
        for (int i = 0; i < k_unpacked; ++i) {
            const int x = ((q[i] >> shift) & 15) | ((high[i] >> of_block) & 1) << 4;
            y[i] = by.scale * static_cast<float>(x) - by.min;
        }
    }
};

template <>
struct Unpacker<GGML_TYPE_Q6_K> {
    static void unpack(const uint8_t *row, int64_t part, float *y) {
        const uint8_t *block = row + part / 8 * 210;
        const int half = static_cast<int>(part % 8) / 4;
        const int of_half = static_cast<int>(part % 4);
        const uint8_t *low = block + 64 * half + of_half % 2 * 32;
        const uint8_t *high = block + 128 + 32 * half;
        const auto *scales = reinterpret_cast<const int8_t *>(block + 192 + 8 * half + 2 * of_half);
        const float d = half_at(block + 208);
        const int low_shift = of_half / 2 * 4;
        const int high_shift = of_half * 2;
        for (int sixteen = 0; sixteen < 2; ++sixteen) {
            const float scale = d * static_cast<float>(scales[sixteen]);
            for (int i = 16 * sixteen; i < 16 * sixteen + 16; ++i) {
                const int x = ((low[i] >> low_shift) & 15) | ((high[i] >> high_shift) & 3) << 4;
                y[i] = scale * static_cast<float>(x - 32);
            }
        }
    }
};

}  // namespace
}  // namespace orthorank
