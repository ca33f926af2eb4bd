// Groups of weights for cpu_rows(), by type: ggml's block formats (ggml-quants.c describes them) as
// 8-bit numbers with a scale and an offset a block. Included by the files of a level alone, each of
// which has its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "ggml.h"

namespace orthorank {
namespace {

// low and high: see cpu_rows_dot.h. pairs: scale and offset of each block.
template <typename O>
struct Unpacked {
    typename O::Ints low, high;
    typename O::Pairs pairs;
};

template <typename T>
T read(const uint8_t *x) {
    T value;
    std::memcpy(&value, x, sizeof(value));
    return value;
}

// One struct a type. unpack() gives the group of a row of weights; n: how many of its blocks are
// there, the last stands for those that are not.
template <ggml_type type, typename O>
struct Quants;

// Numbers of 4 bits from 0 on with a scale, less `offset`; or with a minimum of their own.
template <typename O>
struct Nibbles {
    static constexpr bool k_is_signed = false;
    static void unpack(const uint8_t *block, size_t n_bytes, size_t at, int n, Unpacked<O> &to) {
        const auto both = O::sixteens(block + at, n_bytes, n);
        to.low = O::low_nibbles(both);
        to.high = O::high_nibbles(both);
    }
};

template <typename O>
struct Quants<GGML_TYPE_Q4_0, O> : Nibbles<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const uint8_t *block = row + group * O::k_blocks * 18;
        Nibbles<O>::unpack(block, 18, 2, n, to);
        to.pairs = O::mul(O::halves_twice(block, 18, n), O::pairs_of(1.0f, -8.0f));
    }
};

template <typename O>
struct Quants<GGML_TYPE_Q4_1, O> : Nibbles<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const uint8_t *block = row + group * O::k_blocks * 20;
        Nibbles<O>::unpack(block, 20, 4, n, to);
        to.pairs = O::halves(block, 20, n);
    }
};

template <typename O>
struct Quants<GGML_TYPE_Q5_0, O> : Nibbles<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const uint8_t *block = row + group * O::k_blocks * 22;
        Nibbles<O>::unpack(block, 22, 6, n, to);
        O::add_fifth_bits(block + 2, 22, n, to.low, to.high);
        to.pairs = O::mul(O::halves_twice(block, 22, n), O::pairs_of(1.0f, -16.0f));
    }
};

template <typename O>
struct Quants<GGML_TYPE_Q5_1, O> : Nibbles<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const uint8_t *block = row + group * O::k_blocks * 24;
        Nibbles<O>::unpack(block, 24, 8, n, to);
        O::add_fifth_bits(block + 4, 24, n, to.low, to.high);
        to.pairs = O::halves(block, 24, n);
    }
};

// Signed numbers: where the level multiplies unsigned ones alone, 128 more.
template <typename O>
struct Signed {
    static constexpr bool k_is_signed = true;
    static typename O::Pairs scales(const uint8_t *block, size_t n_bytes, int n) {
        return O::mul(O::halves_twice(block, n_bytes, n),
                      O::pairs_of(1.0f, O::k_multiplies_signs ? 0.0f : -128.0f));
    }
};

template <typename O>
struct Quants<GGML_TYPE_Q8_0, O> : Signed<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const uint8_t *block = row + group * O::k_blocks * 34;
        O::split_blocks(block + 2, 34, n, to.low, to.high);
        to.low = O::from_signed(to.low);
        to.high = O::from_signed(to.high);
        to.pairs = Signed<O>::scales(block, 34, n);
    }
};

template <typename O>
struct Quants<GGML_TYPE_IQ4_NL, O> : Signed<O> {
    static void unpack(const uint8_t *row, int64_t group, int n, Unpacked<O> &to) {
        const __m128i values =
            _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
        const uint8_t *block = row + group * O::k_blocks * 18;
        Nibbles<O>::unpack(block, 18, 2, n, to);
        to.low = O::from_signed(O::look_up(values, to.low));
        to.high = O::from_signed(O::look_up(values, to.high));
        to.pairs = Signed<O>::scales(block, 18, n);
    }
};

}  // namespace
}  // namespace orthorank
