// Log-probabilities by hand, and of logits that are no numbers: the loops are compiled with
// -ffast-math, what they return must not be made plausible by it.
#include "session/log_probs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace orthorank {
namespace {

constexpr float k_infinity = std::numeric_limits<float>::infinity();
constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();

// Longer than a block, with a tail; all logits different.
std::vector<float> logits_of(size_t n, float step) {
    std::vector<float> logits(n);
    for (size_t i = 0; i < n; ++i) {
        logits[i] = 3.0f - step * static_cast<float>((i * 7919) % n);
    }
    return logits;
}

double exact_log_sum_exp(const std::vector<float> &row) {
    long double sum = 0;
    for (const float x : row) {
        sum += std::exp(static_cast<long double>(x));
    }
    return static_cast<double>(std::log(sum));
}

TEST(LogProbs, SumsAreExact) {
    for (const size_t n : {1u, 5u, 4096u, 10001u}) {
        for (const float step : {1e-4f, 0.5f}) {
            const std::vector<float> row = logits_of(n, step);
            EXPECT_NEAR(log_sum_exp(row), exact_log_sum_exp(row), 2e-6) << n << " " << step;
        }
    }
    const std::vector<float> negative = {-1000.0f, -1001.0f, -1000.5f};
    EXPECT_NEAR(log_sum_exp(negative), -1000.0 + std::log(1 + std::exp(-1.0) + std::exp(-0.5)),
                1e-6);
    const std::vector<float> impossible = {0.0f, -k_infinity, 0.0f};  // probability 0
    EXPECT_NEAR(log_sum_exp(impossible), std::log(2.0), 1e-7);
}

TEST(LogProbs, TargetsAndDivergence) {
    const std::vector<float> p = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
    const std::vector<float> q = {std::log(0.25f), std::log(0.5f), std::log(0.25f)};
    std::vector<float> both = p;
    both.insert(both.end(), q.begin(), q.end());
    const std::vector<int32_t> targets = {1, -1};
    std::vector<float> log_probs(2, 9.0f);
    target_log_probs(both.data(), 3, targets, 2, log_probs);
    EXPECT_NEAR(log_probs[0], std::log(0.25), 1e-6);
    EXPECT_EQ(log_probs[1], 0.0f);
    EXPECT_NEAR(kl_divergence(p, q), 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
    EXPECT_EQ(kl_divergence(p, p), 0.0);
    EXPECT_EQ(argmax(q), 1);
    EXPECT_EQ(argmax(std::vector<float>{1.0f, 2.0f, 2.0f}), 1);
}

TEST(LogProbs, WhatIsNoNumberIsNotMadeOne) {
    for (const float bad : {k_nan, -k_nan, k_infinity}) {
        for (const size_t at : {size_t{0}, size_t{17}, size_t{4096}, size_t{9999}}) {
            std::vector<float> row = logits_of(10000, 1e-3f);
            const std::vector<float> good = row;
            row[at] = bad;
            EXPECT_FALSE(std::isfinite(log_sum_exp(row))) << bad << " at " << at;
            EXPECT_FALSE(std::isfinite(kl_divergence(row, good))) << bad << " at " << at;
            EXPECT_FALSE(std::isfinite(kl_divergence(good, row))) << bad << " at " << at;
            const std::vector<int32_t> target = {5};
            std::vector<float> log_probs(1, 0.0f);
            target_log_probs(row.data(), 10000, target, 1, log_probs);
            EXPECT_FALSE(std::isfinite(log_probs[0])) << bad << " at " << at;
        }
    }
}

}  // namespace
}  // namespace orthorank
