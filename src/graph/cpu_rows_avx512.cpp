// cpu_rows() with AVX-512's products of 8-bit numbers (VNNI).
#ifdef __x86_64__

#include "graph/cpu_rows_dot.h"

namespace orthorank {
namespace {

struct Rows512 {
    using Lanes = Lanes16;
    using Ints = __m512i;
    using Pairs = __m256;
    static constexpr int k_blocks = 4;
    static constexpr bool k_multiplies_signs = false;

    static const uint8_t *at(const uint8_t *first, size_t stride, int i, int n) {
        return first + static_cast<size_t>(i < n ? i : n - 1) * stride;
    }
    static __m128i load16(const uint8_t *x) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i *>(x));
    }
    static __m256i load32(const uint8_t *x) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(x));
    }
    static Ints load_ints(const void *x) { return _mm512_loadu_si512(x); }
    static Ints or_ints(Ints a, Ints b) { return _mm512_or_si512(a, b); }

    // 16 bytes of each block
    static Ints sixteens(const uint8_t *first, size_t stride, int n) {
        Ints x = _mm512_castsi128_si512(load16(first));
        x = _mm512_inserti32x4(x, load16(at(first, stride, 1, n)), 1);
        x = _mm512_inserti32x4(x, load16(at(first, stride, 2, n)), 2);
        return _mm512_inserti32x4(x, load16(at(first, stride, 3, n)), 3);
    }
    static Ints low_nibbles(Ints x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
    static Ints high_nibbles(Ints x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
    static void add_fifth_bits(const uint8_t *first, size_t stride, int n, Ints &low, Ints &high) {
        uint64_t low_bits = 0, high_bits = 0;
        for (int i = 0; i < k_blocks; ++i) {
            const uint64_t bits = read<uint32_t>(at(first, stride, i, n));
            low_bits |= (bits & 0xffff) << (16 * i);
            high_bits |= (bits >> 16) << (16 * i);
        }
        const Ints sixteen = _mm512_set1_epi8(16);
        low = or_ints(low, _mm512_maskz_mov_epi8(low_bits, sixteen));
        high = or_ints(high, _mm512_maskz_mov_epi8(high_bits, sixteen));
    }
    static Ints look_up(__m128i values, Ints x) {
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), x);
    }
    static Ints from_signed(Ints x) { return _mm512_xor_si512(x, _mm512_set1_epi8(-128)); }
    // 32 bytes of each block
    static void split_blocks(const uint8_t *first, size_t stride, int n, Ints &low, Ints &high) {
        const Ints a = _mm512_inserti64x4(_mm512_castsi256_si512(load32(first)),
                                          load32(at(first, stride, 1, n)), 1);
        const Ints b = _mm512_inserti64x4(_mm512_castsi256_si512(load32(at(first, stride, 2, n))),
                                          load32(at(first, stride, 3, n)), 1);
        split(a, b, low, high);
    }
    static void split(Ints a, Ints b, Ints &low, Ints &high) {
        low = _mm512_shuffle_i32x4(a, b, 0x88);
        high = _mm512_shuffle_i32x4(a, b, 0xdd);
    }

    static Pairs load(const float *x) { return _mm256_load_ps(x); }
    static Pairs zero_pairs() { return _mm256_setzero_ps(); }
    static Pairs mul(Pairs a, Pairs b) { return _mm256_mul_ps(a, b); }
    static Pairs add(Pairs a, Pairs b) { return _mm256_add_ps(a, b); }
    static Pairs pairs_of(float a, float b) { return _mm256_setr_ps(a, b, a, b, a, b, a, b); }
    static __m128i words(const uint8_t *first, size_t stride, int n) {
        __m128i x = _mm_cvtsi32_si128(read<int>(first));
        x = _mm_insert_epi32(x, read<int>(at(first, stride, 1, n)), 1);
        x = _mm_insert_epi32(x, read<int>(at(first, stride, 2, n)), 2);
        return _mm_insert_epi32(x, read<int>(at(first, stride, 3, n)), 3);
    }
    // Two 16-bit floats, or one twice, at the beginning of each block.
    static Pairs halves(const uint8_t *first, size_t stride, int n) {
        return _mm256_cvtph_ps(words(first, stride, n));
    }
    static Pairs halves_twice(const uint8_t *first, size_t stride, int n) {
        const __m128i twice = _mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13);
        return _mm256_cvtph_ps(_mm_shuffle_epi8(words(first, stride, n), twice));
    }
    // A pair's number in the block's four lanes.
    static __m512 spread_first(Pairs x) {
        const Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
        return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(x));
    }

    template <bool>
    static __m512 dot(Ints low, const int8_t *x_low, Ints high, const int8_t *x_high) {
        const Ints sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low, load_ints(x_low));
        return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(sum, high, load_ints(x_high)));
    }

    static float sum(__m512 x) { return _mm512_reduce_add_ps(x); }
    static float sum_second(Pairs x) {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        return _mm_cvtss_f32(_mm_movehdup_ps(_mm_add_ps(four, _mm_movehl_ps(four, four))));
    }
};

}  // namespace

const RowsKernel k_rows_avx512 = Rows<Rows512>::kernel();

}  // namespace orthorank

#endif
