#include "graph/cpu_peak.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/stopwatch.h"
#include "graph/cpu_matmul_kernel.h"

namespace orthorank {

namespace {

constexpr int k_repetitions = 5;

// Seconds of the fastest repetition until all threads have done their work, starts included.
double best_seconds(int n_threads, const std::function<void(int)> &work) {
    double best = 0;
    for (int repetition = 0; repetition < k_repetitions; ++repetition) {
        const Stopwatch watch;
        std::vector<std::thread> threads;
        for (int i = 0; i < n_threads; ++i) {
            threads.emplace_back(work, i);
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        const double seconds = watch.elapsed_s();
        best = repetition == 0 ? seconds : std::min(best, seconds);
    }
    return best;
}

std::atomic<uint64_t> kept;  // what was computed, so that it is

const MatmulKernel *kernel_of(CpuLevel level) {
#if defined(__x86_64__)
    switch (level) {
        case CpuLevel::none:
            return nullptr;
        case CpuLevel::avx2:
            return &k_matmul_bytes_avx2;
        case CpuLevel::avx512:
        case CpuLevel::avx512_bf16:
            return &k_matmul_bytes_avx512;
        case CpuLevel::amx:
            return &k_matmul_amx;
    }
#endif
    CHECK(level == CpuLevel::none);
    return nullptr;
}

double peak_flops(const MatmulKernel &kernel, int n_threads) {
    constexpr double k_flops_of_thread = 1e10;
    struct alignas(64) Operands {
        uint32_t words[k_round_words] = {};
    };
    const auto operands = std::make_unique<Operands>();
    const auto n_rounds = static_cast<int64_t>(k_flops_of_thread / kernel.round_flops);
    const double seconds = best_seconds(n_threads, [&](int) {
        kept += static_cast<uint64_t>(kernel.run_rounds(operands->words, n_rounds));
    });
    return n_threads * kernel.round_flops * static_cast<double>(n_rounds) / seconds;
}

uint64_t sum_of(const uint64_t *x, size_t n) {
    uint64_t sums[8] = {};
    for (size_t i = 0; i < n; i += 8) {
        for (size_t j = 0; j < 8; ++j) {
            sums[j] += x[i + j];
        }
    }
    uint64_t sum = 0;
    for (const uint64_t part : sums) {
        sum += part;
    }
    return sum;
}

double peak_bytes(int n_threads) {
    constexpr size_t k_bytes = size_t{256} << 20;  // of a thread: no cache holds them
    constexpr size_t k_huge_page = size_t{2} << 20;
    struct Free {
        void operator()(void *memory) const { std::free(memory); }
    };
    std::vector<std::unique_ptr<uint64_t, Free>> buffers;
    for (int i = 0; i < n_threads; ++i) {
        buffers.emplace_back(static_cast<uint64_t *>(std::aligned_alloc(k_huge_page, k_bytes)));
        if (buffers.back() == nullptr) {
            fail(ErrorKind::limit, "no memory to measure the machine's reads: {} bytes a thread",
                 k_bytes);
        }
        ::madvise(buffers.back().get(), k_bytes, MADV_HUGEPAGE);
        std::fill_n(buffers.back().get(), k_bytes / sizeof(uint64_t), 1);
    }
    const double seconds = best_seconds(n_threads, [&](int i) {
        kept += sum_of(buffers[static_cast<size_t>(i)].get(), k_bytes / sizeof(uint64_t));
    });
    return static_cast<double>(n_threads) * static_cast<double>(k_bytes) / seconds;
}

}  // namespace

MachinePeak machine_peak(CpuLevel level, int n_threads) {
    MachinePeak peak;
    if (const MatmulKernel *kernel = kernel_of(level)) {
        peak.flops_per_second = peak_flops(*kernel, n_threads);
    }
    peak.bytes_per_second = peak_bytes(n_threads);
    return peak;
}

}  // namespace orthorank
