// What "equal" means between two computations of the same thing (docs: tolerances): kernels change
// with the number of rows, so across shapes hidden states agree within 1e-3, logits by NMSE, the
// likeliest token and the chosen rows unless near a tie; same shapes agree to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sequence.h"

namespace orthorank::test {

constexpr double k_hidden_tolerance = 1e-3;  // relative
constexpr double k_score_tie = 1e-5;         // relative
constexpr float k_logit_tie = 0.05f;         // absolute
constexpr double k_nmse_f32 = 1e-5;          // F32 weights across shapes
constexpr double k_nmse_quantised = 5e-3;    // quantised weights across shapes
// The same where one side computes an attention row alone over an F16 cache: that kernel of ggml's
// (flash_attn_ext_f16_one_chunk) rounds the query to F16 and sums the values in F16, while tiles of
// 64 rows are computed in F32.
constexpr double k_nmse_f16_cache = 1e-4;

// sum (found - expected)^2 / sum expected^2. Infinite for different sizes or NaN.
double nmse(std::span<const float> found, std::span<const float> expected);
// Its root: the relative distance.
double relative_distance(std::span<const float> found, std::span<const float> expected);

// The same bits, or where the first difference is.
testing::AssertionResult same_bits(std::span<const float> found, std::span<const float> expected);
testing::AssertionResult nmse_below(double limit, std::span<const float> found,
                                    std::span<const float> expected);
// Row by row of n values each.
testing::AssertionResult rows_close(std::span<const float> found, std::span<const float> expected,
                                    size_t n, double tolerance = k_hidden_tolerance);
int32_t argmax(std::span<const float> values);
// The same likeliest token; another one only if it is less than k_logit_tie behind.
testing::AssertionResult same_argmax(std::span<const float> found, std::span<const float> expected);
// The same scores within the tolerance (a NaN equals a NaN, the sink's infinity itself) and the
// same choices; a position may differ where the expectation has a score within k_score_tie of its
// own on the other side.
testing::AssertionResult same_record(const LayerRecord &found, const LayerRecord &expected,
                                     double score_tolerance = k_hidden_tolerance);

}  // namespace orthorank::test
