// cpu_matmul() in floats of AVX2: weights and activations keep all their bits. Of 8 bits it takes
// half of its registers to multiply and to add numbers without loss, which floats do as fast.
#ifdef __x86_64__

#include "graph/cpu_matmul_panel.h"

namespace orthorank {
namespace {

struct Avx2 {
    using Vec = __m256;
    using Lanes = Lanes8;
    using Types = TypesOfWeights<GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL>;
    static constexpr int k_words = k_tile_k;
    static constexpr int k_parts = 1;
    static constexpr int k_strip_panels = 1;
    static constexpr int n = 8;
    static constexpr int n_rows_at_once = 4;
    static constexpr int n_vecs_at_once = 2;

    static Vec load_sums(const float *x) { return _mm256_loadu_ps(x); }
    static Vec zero() { return _mm256_setzero_ps(); }
    static Vec load(const uint32_t *x) {
        return _mm256_load_ps(reinterpret_cast<const float *>(x));
    }
    static Vec broadcast(uint32_t x) {
        return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(x)));
    }
    static Vec dot(Vec sum, Vec a, Vec b) { return _mm256_fmadd_ps(a, b, sum); }
    static void store(float *to, Vec x) { _mm256_storeu_ps(to, x); }

    static void begin() {}
    static void end() {}
    static void add(const Block &block, float *out, size_t stride) {
        add_in_registers<Avx2>(block, out, stride);
    }
    static constexpr double k_round_flops = 2 * n * k_sums_of_round;
    static float run_rounds(const uint32_t *operands, int64_t n_rounds) {
        return run_rounds_in_registers<Avx2>(operands, n_rounds);
    }

    static void pack(const float *x, uint32_t *to) { std::memcpy(to, x, k_tile_k * sizeof(float)); }

    // An 8 x 8 corner of the transposed block.
    static void transpose(const float (*y)[k_unpacked], float *to) {
        __m256 t[8], u[8];
        for (int i = 0; i < 8; i += 2) {
            const __m256 a = _mm256_load_ps(y[i]);
            const __m256 b = _mm256_load_ps(y[i + 1]);
            t[i] = _mm256_unpacklo_ps(a, b);
            t[i + 1] = _mm256_unpackhi_ps(a, b);
        }
        for (int i = 0; i < 8; i += 4) {
            u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
            u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
            u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
            u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
        }
        for (int i = 0; i < 4; ++i) {
            _mm256_store_ps(to + i * k_tile_rows, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
            _mm256_store_ps(to + (i + 4) * k_tile_rows,
                            _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
        }
    }

    static void to_words(const float (*y)[k_unpacked], uint32_t *words) {
        auto *to = reinterpret_cast<float *>(words);
        for (int row = 0; row < k_tile_rows; row += 8) {
            for (int k = 0; k < k_unpacked; k += 8) {
                transpose(reinterpret_cast<const float(*)[k_unpacked]>(y[row] + k),
                          to + k * k_tile_rows + row);
            }
        }
    }
};

}  // namespace

const MatmulKernel k_matmul_avx2 = Panel<Avx2>::kernel();

}  // namespace orthorank

#endif
