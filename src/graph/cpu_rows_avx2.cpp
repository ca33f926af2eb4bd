// cpu_rows() in registers of AVX2.
#ifdef __x86_64__

#include "graph/cpu_rows_dot.h"

namespace orthorank {
namespace {

struct Rows256 {
    using Lanes = Lanes8;
    using Ints = __m256i;
    using Pairs = __m128;
    static constexpr int k_blocks = 2;
    // Its products of 8 bits add two in 16, which unsigned numbers above 128 would pass.
    static constexpr bool k_multiplies_signs = true;

    static __m128i load16(const uint8_t *x) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i *>(x));
    }
    static Ints load_ints(const void *x) {
        return _mm256_loadu_si256(static_cast<const __m256i *>(x));
    }
    static Ints or_ints(Ints a, Ints b) { return _mm256_or_si256(a, b); }
    static const uint8_t *second(const uint8_t *first, size_t stride, int n) {
        return first + (n > 1 ? stride : 0);
    }

    static Ints sixteens(const uint8_t *first, size_t stride, int n) {
        return _mm256_setr_m128i(load16(first), load16(second(first, stride, n)));
    }
    static Ints low_nibbles(Ints x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
    static Ints high_nibbles(Ints x) { return low_nibbles(_mm256_srli_epi16(x, 4)); }
    // 16 in the bytes whose bit is set in the 32.
    static Ints sixteens_of(uint32_t bits) {
        const Ints byte_of =
            _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
        const Ints bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
        const Ints bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of);
        return where_all(bytes, bit_of);
    }
    static Ints where_all(Ints x, Ints bits) {
        return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(x, bits), bits),
                                _mm256_set1_epi8(16));
    }
    static void add_fifth_bits(const uint8_t *first, size_t stride, int n, Ints &low, Ints &high) {
        const auto a = read<uint32_t>(first);
        const auto b = read<uint32_t>(second(first, stride, n));
        low = or_ints(low, sixteens_of((a & 0xffffu) | b << 16));
        high = or_ints(high, sixteens_of(a >> 16 | (b & 0xffff0000u)));
    }
    static Ints look_up(__m128i values, Ints x) {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), x);
    }
    static Ints from_signed(Ints x) { return x; }
    static void split_blocks(const uint8_t *first, size_t stride, int n, Ints &low, Ints &high) {
        interleave(load_ints(first), load_ints(second(first, stride, n)), low, high);
    }
    static void interleave(Ints a, Ints b, Ints &low, Ints &high) {
        low = _mm256_permute2x128_si256(a, b, 0x20);
        high = _mm256_permute2x128_si256(a, b, 0x31);
    }

    static Pairs load(const float *x) { return _mm_load_ps(x); }
    static Pairs zero_pairs() { return _mm_setzero_ps(); }
    static Pairs mul(Pairs a, Pairs b) { return _mm_mul_ps(a, b); }
    static Pairs add(Pairs a, Pairs b) { return _mm_add_ps(a, b); }
    static Pairs pairs_of(float a, float b) { return _mm_setr_ps(a, b, a, b); }
    static __m128i words(const uint8_t *first, size_t stride, int n) {
        return _mm_insert_epi32(_mm_cvtsi32_si128(read<int>(first)),
                                read<int>(second(first, stride, n)), 1);
    }
    static Pairs halves(const uint8_t *first, size_t stride, int n) {
        return _mm_cvtph_ps(words(first, stride, n));
    }
    static Pairs halves_twice(const uint8_t *first, size_t stride, int n) {
        return _mm_cvtph_ps(_mm_shufflelo_epi16(words(first, stride, n), 0xa0));
    }
    static __m256 spread(__m128 x) {
        return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(x),
                                        _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
    }
    static __m256 spread_first(Pairs x) { return spread(x); }

    // Four products a lane.
    template <bool is_signed>
    static Ints products(Ints w, const int8_t *x_at) {
        const Ints x = load_ints(x_at);
        const Ints pairs = is_signed
                               ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                               : _mm256_maddubs_epi16(w, x);
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    template <bool is_signed>
    static __m256 dot(Ints low, const int8_t *x_low, Ints high, const int8_t *x_high) {
        return _mm256_cvtepi32_ps(
            _mm256_add_epi32(products<is_signed>(low, x_low), products<is_signed>(high, x_high)));
    }

    static float sum(__m256 x) {
        return sum_four(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
    }
    static float sum_four(__m128 x) {
        const __m128 two = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static float sum_second(Pairs x) {
        return _mm_cvtss_f32(_mm_movehdup_ps(_mm_add_ps(x, _mm_movehl_ps(x, x))));
    }
};

}  // namespace

const RowsKernel k_rows_avx2 = Rows<Rows256>::kernel();

}  // namespace orthorank

#endif
