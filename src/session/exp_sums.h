// Sums of exponentials, the loops that log-probabilities spend their time in. Their source is
// compiled with -ffast-math (src/CMakeLists.txt), so that the compiler takes libm's vector exp:
// nothing is compared there, and what is done with the sums stands in log_probs.cpp, compiled by
// the rules. A NaN among the inputs makes the sum one. Thread-safe.
#pragma once

#include <span>

namespace orthorank {

// sum exp(row - shift), accumulated in double over blocks of float sums.
double sum_of_exp(std::span<const float> row, float shift);

// sum p (log p - log q), log p = p_logits - p_shift, log q = q_logits - q_shift.
double sum_of_divergence(std::span<const float> p_logits, float p_shift,
                         std::span<const float> q_logits, float q_shift);

}  // namespace orthorank
