// cpu_matmul() with AVX-512's products of 8-bit numbers (VNNI).
#ifdef __x86_64__

#include "graph/cpu_matmul_bytes.h"

namespace orthorank {
namespace {

struct Vnni512 {
    using Ints = __m512i;
    using Products = __m512i;
    using Lanes = Lanes16;
    using Types = TypesOfWeights<GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                 GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                                 GGML_TYPE_Q6_K>;
    static constexpr int n = 16;
    static constexpr int n_rows_at_once = 4;
    static constexpr int n_vecs_at_once = 2;
    static constexpr bool k_sums_in_16_bits = false;
    static constexpr int k_chunk_parts = 12;
    static constexpr int k_strip_panels = 6;

    static Ints load_ints(const void *x) { return _mm512_load_si512(x); }
    static void store_ints(void *to, Ints x) { _mm512_store_si512(to, x); }
    static Ints no_ints() { return _mm512_setzero_si512(); }
    static Ints broadcast(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
    static Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
    static __m512 to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
    static Products begin(Ints sum, Ints x, Ints w) { return _mm512_dpbusd_epi32(sum, x, w); }
    static Products more(Products sum, Ints x, Ints w) { return _mm512_dpbusd_epi32(sum, x, w); }
    static Ints finish(Ints, Products products) { return products; }

    // y [16][8] words to [8][k_panel_rows], of which these are 16 lanes.
    static void store_words(const int8_t (*y)[k_tile_k], uint32_t *to) {
        __m512i t[8], u[8];
        for (int i = 0; i < 8; ++i) {
            // Four rows' quarters must come out in order: 0 .. 3, 4 .. 7, and the same from 8 on.
            const int8_t *row = y[i < 4 ? i : i + 4];
            const auto *low = reinterpret_cast<const __m256i *>(row);
            const auto *high = reinterpret_cast<const __m256i *>(row + 4 * k_tile_k);
            t[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_load_si256(low)),
                                      _mm256_load_si256(high), 1);
        }
        for (int i = 0; i < 8; i += 2) {
            u[i] = _mm512_unpacklo_epi32(t[i], t[i + 1]);
            u[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 1]);
        }
        for (int i = 0; i < 8; i += 4) {
            t[i] = _mm512_unpacklo_epi64(u[i], u[i + 2]);
            t[i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 2]);
            t[i + 2] = _mm512_unpacklo_epi64(u[i + 1], u[i + 3]);
            t[i + 3] = _mm512_unpackhi_epi64(u[i + 1], u[i + 3]);
        }
        // t[j] has in its even quarters word j, in its odd ones word j + 4.
        for (int j = 0; j < 4; ++j) {
            _mm512_store_si512(to + j * k_panel_rows, _mm512_shuffle_i32x4(t[j], t[4 + j], 0x88));
            _mm512_store_si512(to + (j + 4) * k_panel_rows,
                               _mm512_shuffle_i32x4(t[j], t[4 + j], 0xdd));
        }
    }
};

}  // namespace

const MatmulKernel k_matmul_bytes_avx512 = BytesPanel<Vnni512>::kernel();

}  // namespace orthorank

#endif
