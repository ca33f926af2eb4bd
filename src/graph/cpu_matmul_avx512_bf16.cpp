// cpu_matmul() with AVX-512's products of bfloat16.
#ifdef __x86_64__

#include "graph/cpu_matmul_bf16.h"

namespace orthorank {
namespace {

struct Avx512Bf16 : Bf16Words {
    using Vec = __m512;
    static constexpr int n = 16;
    static constexpr int n_rows_at_once = 8;
    static constexpr int n_vecs_at_once = 2;

    static Vec load_sums(const float *x) { return _mm512_loadu_ps(x); }
    static Vec zero() { return _mm512_setzero_ps(); }
    static __m512 load(const uint32_t *x) { return _mm512_load_ps(x); }
    static __m512 broadcast(uint32_t x) {
        return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(x)));
    }
    static Vec dot(Vec sum, __m512 a, __m512 b) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
    static void store(float *to, Vec x) { _mm512_storeu_ps(to, x); }

    static void begin() {}
    static void end() {}
    static void add(const Block &block, float *out, size_t stride) {
        add_in_registers<Avx512Bf16>(block, out, stride);
    }
    static constexpr double k_round_flops = 4 * n * k_sums_of_round;
    static float run_rounds(const uint32_t *operands, int64_t n_rounds) {
        return run_rounds_in_registers<Avx512Bf16>(operands, n_rounds);
    }
};

}  // namespace

const MatmulKernel k_matmul_avx512_bf16 = Panel<Avx512Bf16>::kernel();

}  // namespace orthorank

#endif
