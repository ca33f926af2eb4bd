#include "session/exp_sums.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace orthorank {

namespace {

constexpr size_t k_block = 4096;

}  // namespace

double sum_of_exp(std::span<const float> row, float shift) {
    double sum = 0;
    for (size_t first = 0; first < row.size(); first += k_block) {
        const size_t end = std::min(row.size(), first + k_block);
        float block = 0;
        for (size_t i = first; i < end; ++i) {
            block += std::exp(row[i] - shift);
        }
        sum += static_cast<double>(block);
    }
    return sum;
}

double sum_of_divergence(std::span<const float> p_logits, float p_shift,
                         std::span<const float> q_logits, float q_shift) {
    double sum = 0;
    for (size_t first = 0; first < p_logits.size(); first += k_block) {
        const size_t end = std::min(p_logits.size(), first + k_block);
        float block = 0;
        for (size_t i = first; i < end; ++i) {
            const float log_p = p_logits[i] - p_shift;
            block += std::exp(log_p) * (log_p - (q_logits[i] - q_shift));
        }
        sum += static_cast<double>(block);
    }
    return sum;
}

}  // namespace orthorank
