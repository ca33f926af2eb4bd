#include "session/log_probs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "session/exp_sums.h"

namespace orthorank {

namespace {

// The largest of them; a positive NaN counts as larger than all, so that it is seen. Floats are
// ordered as the integers of their bits are once those of negative ones are turned round, and
// integers are what a compiler finds the largest of in vectors without leave to forget NaN.
float max_of(std::span<const float> row) {
    int32_t largest = std::numeric_limits<int32_t>::min();
    for (const float &x : row) {
        int32_t bits = 0;
        std::memcpy(&bits, &x, sizeof(bits));
        largest = std::max(largest, bits ^ ((bits >> 31) & 0x7fffffff));
    }
    largest ^= (largest >> 31) & 0x7fffffff;
    float max = 0;
    std::memcpy(&max, &largest, sizeof(max));
    return max;
}

}  // namespace

double log_sum_exp(std::span<const float> row) {
    const float max = max_of(row);
    return static_cast<double>(max) + std::log(sum_of_exp(row, max));
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
    const double sum = sum_of_divergence(p_logits, p_lse, q_logits, q_lse);
    return sum < 0.0 ? 0.0 : sum;  // rounding; a NaN stays one
}

int32_t argmax(std::span<const float> row) {
    return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace orthorank
