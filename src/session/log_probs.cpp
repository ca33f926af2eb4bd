// Compiled with -ffast-math (src/CMakeLists.txt), which lets the compiler use the vector exp of
// libm. Inputs are finite.
#include "session/log_probs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace orthorank {

namespace {

constexpr size_t k_block = 4096;

float max_of(std::span<const float> row) {
    float max = row[0];
    for (float x : row) {
        max = x > max ? x : max;
    }
    return max;
}

}  // namespace

double log_sum_exp(std::span<const float> row) {
    const float max = max_of(row);
    double sum = 0;
    for (size_t first = 0; first < row.size(); first += k_block) {
        const size_t end = std::min(row.size(), first + k_block);
        float block = 0;
        for (size_t i = first; i < end; ++i) {
            block += std::exp(row[i] - max);
        }
        sum += static_cast<double>(block);
    }
    return static_cast<double>(max) + std::log(sum);
}

void target_log_probs(const float *logits, int n_vocab, std::span<const int32_t> targets,
                      int n_threads, std::span<float> log_probs) {
    const auto n = static_cast<std::ptrdiff_t>(targets.size());
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const int32_t target = targets[static_cast<size_t>(i)];
        const std::span<const float> row(logits + i * n_vocab, static_cast<size_t>(n_vocab));
        log_probs[static_cast<size_t>(i)] =
            target < 0 ? 0.0f
                       : static_cast<float>(static_cast<double>(row[static_cast<size_t>(target)]) -
                                            log_sum_exp(row));
    }
    (void)n_threads;
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
    const auto p_lse = static_cast<float>(log_sum_exp(p_logits));
    const auto q_lse = static_cast<float>(log_sum_exp(q_logits));
    double sum = 0;
    for (size_t first = 0; first < p_logits.size(); first += k_block) {
        const size_t end = std::min(p_logits.size(), first + k_block);
        float block = 0;
        for (size_t i = first; i < end; ++i) {
            const float log_p = p_logits[i] - p_lse;
            block += std::exp(log_p) * (log_p - (q_logits[i] - q_lse));
        }
        sum += static_cast<double>(block);
    }
    return std::max(sum, 0.0);
}

int32_t argmax(std::span<const float> row) {
    return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace orthorank
