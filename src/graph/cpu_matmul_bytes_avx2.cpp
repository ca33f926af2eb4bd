// cpu_matmul() with AVX2's products of 8-bit numbers, which add two in 16 bits: for weights of at
// most 6.
#ifdef __x86_64__

#include "graph/cpu_matmul_bytes.h"

namespace orthorank {
namespace {

struct Bytes256 {
    using Ints = __m256i;
    using Products = __m256i;
    using Lanes = Lanes8;
    using Types = TypesOfWeights<GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                 GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K>;
    static constexpr int n = 8;
    static constexpr int n_rows_at_once = 2;
    static constexpr int n_vecs_at_once = 2;
    static constexpr bool k_sums_in_16_bits = true;
    static constexpr int k_chunk_parts = 8;
    static constexpr int k_strip_panels = 2;

    static Ints load_ints(const void *x) {
        return _mm256_load_si256(static_cast<const __m256i *>(x));
    }
    static void store_ints(void *to, Ints x) { _mm256_store_si256(static_cast<__m256i *>(to), x); }
    static Ints no_ints() { return _mm256_setzero_si256(); }
    static Ints broadcast(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
    static Ints subtract(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
    static __m256 to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
    static Products begin(Ints, Ints x, Ints w) { return _mm256_maddubs_epi16(x, w); }
    static Products more(Products sum, Ints x, Ints w) {
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, w));
    }
    static Ints finish(Ints sum, Products products) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
    }

    // y [16][8] words to [8][k_panel_rows], of which these are 16 lanes.
    static void store_words(const int8_t (*y)[k_tile_k], uint32_t *to) {
        for (int first = 0; first < k_tile_rows; first += n) {
            __m256i t[8], u[8];
            for (int i = 0; i < 8; ++i) {
                t[i] = load_ints(y[first + i]);
            }
            for (int i = 0; i < 8; i += 2) {
                u[i] = _mm256_unpacklo_epi32(t[i], t[i + 1]);
                u[i + 1] = _mm256_unpackhi_epi32(t[i], t[i + 1]);
            }
            for (int i = 0; i < 8; i += 4) {
                t[i] = _mm256_unpacklo_epi64(u[i], u[i + 2]);
                t[i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 2]);
                t[i + 2] = _mm256_unpacklo_epi64(u[i + 1], u[i + 3]);
                t[i + 3] = _mm256_unpackhi_epi64(u[i + 1], u[i + 3]);
            }
            for (int j = 0; j < 4; ++j) {
                store_ints(to + j * k_panel_rows + first,
                           _mm256_permute2x128_si256(t[j], t[4 + j], 0x20));
                store_ints(to + (j + 4) * k_panel_rows + first,
                           _mm256_permute2x128_si256(t[j], t[4 + j], 0x31));
            }
        }
    }
};

}  // namespace

const MatmulKernel k_matmul_bytes_avx2 = BytesPanel<Bytes256>::kernel();

}  // namespace orthorank

#endif
