// cpu_matmul() in floats of AVX-512, for weights that are BF16: they and the activations keep all
// their bits.
#ifdef __x86_64__

#include "graph/cpu_matmul_panel.h"
#include "graph/cpu_matmul_transpose.h"

namespace orthorank {
namespace {

struct Avx512 {
    using Vec = __m512;
    using Lanes = Lanes16;
    using Types = TypesOfWeights<GGML_TYPE_BF16>;
    static constexpr int k_words = k_tile_k;
    static constexpr int k_parts = 1;
    static constexpr int k_strip_panels = 3;
    static constexpr int n = 16;
    static constexpr int n_rows_at_once = 8;
    static constexpr int n_vecs_at_once = 2;

    static Vec load_sums(const float *x) { return _mm512_loadu_ps(x); }
    static Vec zero() { return _mm512_setzero_ps(); }
    static Vec load(const uint32_t *x) { return _mm512_load_ps(x); }
    static Vec broadcast(uint32_t x) {
        return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(x)));
    }
    static Vec dot(Vec sum, Vec a, Vec b) { return _mm512_fmadd_ps(a, b, sum); }
    static void store(float *to, Vec x) { _mm512_storeu_ps(to, x); }

    static void begin() {}
    static void end() {}
    static void add(const Block &block, float *out, size_t stride) {
        add_in_registers<Avx512>(block, out, stride);
    }
    static constexpr double k_round_flops = 2 * n * k_sums_of_round;
    static float run_rounds(const uint32_t *operands, int64_t n_rounds) {
        return run_rounds_in_registers<Avx512>(operands, n_rounds);
    }

    static void pack(const float *x, uint32_t *to) { std::memcpy(to, x, k_tile_k * sizeof(float)); }

    static void to_words(const float (*y)[k_unpacked], uint32_t *words) {
        for (int half = 0; half < 2; ++half) {
            __m512i rows[k_tile_rows];
            for (int i = 0; i < k_tile_rows; ++i) {
                rows[i] = _mm512_load_si512(y[i] + 16 * half);
            }
            store_transposed(rows, words + 16 * half * k_tile_rows);
        }
    }
};

}  // namespace

const MatmulKernel k_matmul_avx512 = Panel<Avx512>::kernel();

}  // namespace orthorank

#endif
