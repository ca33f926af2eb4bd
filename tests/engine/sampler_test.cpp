#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "support/errors.h"

namespace orthorank {
namespace {

using test::expect_error;

SamplerOptions plain(double temperature, int top_k = 0, double top_p = 1.0, uint32_t seed = 0) {
    return {.temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = seed};
}

std::map<int32_t, int> histogram(const SamplerOptions &options, const std::vector<float> &logits,
                                 int n) {
    Sampler sampler(options);
    std::map<int32_t, int> counts;
    for (int i = 0; i < n; ++i) {
        counts[sampler.sample(logits)]++;
    }
    return counts;
}

TEST(Sampler, GreedyTakesTheLikeliestAndTheLowestOfEquals) {
    const std::vector<float> logits = {1.0f, 3.0f, -2.0f, 3.0f};
    Sampler sampler(plain(0.0));
    EXPECT_EQ(sampler.sample(logits), 1);
}

TEST(Sampler, GreedyIsIndependentOfTheSeed) {
    const std::vector<float> logits = {0.1f, 0.2f, 0.15f};
    for (uint32_t seed = 0; seed < 20; ++seed) {
        Sampler sampler(plain(0.0, 40, 0.95, seed));
        EXPECT_EQ(sampler.sample(logits), 1);
    }
}

TEST(Sampler, DrawsAsOftenAsSoftmaxSays) {
    const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
    const int n = 20000;
    const auto counts = histogram(plain(1.0), logits, n);
    // Five standard deviations of a binomial distribution: at most 0.018.
    EXPECT_NEAR(counts.at(0) / double(n), 0.5, 0.018);
    EXPECT_NEAR(counts.at(1) / double(n), 0.3, 0.018);
    EXPECT_NEAR(counts.at(2) / double(n), 0.2, 0.018);
}

TEST(Sampler, TemperatureSharpens) {
    const std::vector<float> logits = {std::log(0.6f), std::log(0.4f)};
    const int n = 20000;
    const auto counts = histogram(plain(0.5), logits, n);
    EXPECT_NEAR(counts.at(0) / double(n), 0.36 / (0.36 + 0.16), 0.018);
}

TEST(Sampler, TopKLeavesTheRestOut) {
    const std::vector<float> logits = {0.0f, 1.0f, 0.5f, 0.9f};
    const auto counts = histogram(plain(2.0, 2), logits, 2000);
    EXPECT_THAT(counts, testing::SizeIs(2));
    EXPECT_TRUE(counts.contains(1) && counts.contains(3));
}

// 0.5 + 0.3 reaches 0.7; the first alone does not.
TEST(Sampler, TopPKeepsTheOneThatReachesIt) {
    const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
    EXPECT_THAT(histogram(plain(1.0, 0, 0.7), logits, 2000), testing::SizeIs(2));
    EXPECT_THAT(histogram(plain(1.0, 0, 0.45), logits, 2000), testing::SizeIs(1));
    EXPECT_THAT(histogram(plain(1.0, 0, 0.0), logits, 2000), testing::SizeIs(1));
    EXPECT_THAT(histogram(plain(1.0, 0, 1.0), logits, 2000), testing::SizeIs(3));
}

TEST(Sampler, SameSeedSameTokens) {
    const std::vector<float> logits(100, 0.0f);
    Sampler a(plain(1.0, 0, 1.0, 7));
    Sampler b(plain(1.0, 0, 1.0, 7));
    Sampler c(plain(1.0, 0, 1.0, 8));
    int n_same = 0;
    for (int i = 0; i < 100; ++i) {
        const int32_t token = a.sample(logits);
        EXPECT_EQ(b.sample(logits), token);
        n_same += c.sample(logits) == token ? 1 : 0;
    }
    EXPECT_LT(n_same, 20);
}

// 53 of 64 bits of the standard's generator: a seed's tokens stay the same.
TEST(Sampler, TokensOfASeedArePartOfTheInterface) {
    const std::vector<float> logits(1000, 0.0f);
    Sampler sampler(plain(1.0, 0, 1.0, 42));
    std::mt19937 random(42);
    for (int i = 0; i < 20; ++i) {
        const double low = static_cast<double>(random());
        const double uniform = (low + static_cast<double>(random()) * 0x1p32) * 0x1p-64;
        // The first token whose share, added to those before, reaches it.
        EXPECT_EQ(sampler.sample(logits), static_cast<int32_t>(std::ceil(uniform * 1000)) - 1);
    }
}

TEST(Sampler, MinPKeepsWhatIsNotFarBelowTheFirst) {
    const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
    SamplerOptions options = plain(1.0);
    options.min_p = 0.5;
    EXPECT_THAT(histogram(options, logits, 2000), testing::SizeIs(2));
    options.min_p = 0.3;
    EXPECT_THAT(histogram(options, logits, 2000), testing::SizeIs(3));
    options.min_p = 1;
    EXPECT_THAT(histogram(options, logits, 2000), testing::SizeIs(1));
}

// Top-p reads the probabilities before the temperature flattens them, whatever it is.
TEST(Sampler, TheTemperatureComesLast) {
    const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f)};
    EXPECT_THAT(histogram(plain(100.0, 0, 0.85), logits, 2000), testing::SizeIs(2));
}

std::vector<int32_t> first_picks(const SamplerOptions &options, const std::vector<float> &logits,
                                 int n) {
    Sampler sampler(options);
    std::vector<int32_t> picks;
    for (int i = 0; i < n; ++i) {
        picks.push_back(sampler.sample(logits));
    }
    return picks;
}

TEST(Sampler, PenaltiesTurnAwayFromWhatWasPicked) {
    const std::vector<float> logits = {4.0f, 3.0f, -1.0f};
    SamplerOptions options = plain(0.0);
    options.repeat_penalty = 2;  // 4 becomes 2, then 3 becomes 1.5, and so they stay
    EXPECT_THAT(first_picks(options, logits, 4), testing::ElementsAre(0, 1, 0, 0));
    options = plain(0.0);
    options.presence_penalty = 2;  // 4 becomes 2, 3 becomes 1
    EXPECT_THAT(first_picks(options, logits, 4), testing::ElementsAre(0, 1, 0, 0));
    options = plain(0.0);
    options.frequency_penalty = 1.5;  // 4 2.5 1, 3 1.5 0: the number counts
    EXPECT_THAT(first_picks(options, logits, 5), testing::ElementsAre(0, 1, 0, 1, 0));
    options.penalty_last_n = 1;  // only the last pick
    EXPECT_THAT(first_picks(options, logits, 4), testing::ElementsAre(0, 1, 0, 1));
    options.penalty_last_n = 0;
    EXPECT_THAT(first_picks(options, logits, 3), testing::ElementsAre(0, 0, 0));
}

TEST(Sampler, WhatIsNoNumberIsNeverPicked) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> logits = {nan, -infinity, 0.5f, nan, infinity};
    EXPECT_EQ(histogram(plain(1.0), logits, 100).at(2), 100);
    EXPECT_EQ(histogram(plain(0.0), logits, 1).at(2), 1);
    const std::vector<float> broken = {nan, nan};
    Sampler sampler(plain(1.0));
    expect_error(ErrorKind::format, "not numbers", [&] { sampler.sample(broken); });
}

TEST(Sampler, HugeLogitsAndTinyTemperaturesDoNotOverflow) {
    EXPECT_EQ(histogram(plain(1e-6), {3e38f, 2e38f, -3e38f}, 10).at(0), 10);
    EXPECT_THAT(histogram(plain(1e30), {3.0f, 2.0f}, 1000), testing::SizeIs(2));
}

TEST(Sampler, RefusesBadOptions) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    expect_error(ErrorKind::usage, "temperature", [] { Sampler sampler(plain(-0.1)); });
    expect_error(ErrorKind::usage, "temperature", [&] { Sampler sampler(plain(nan)); });
    expect_error(ErrorKind::usage, "top-k", [] { Sampler sampler(plain(1.0, -1)); });
    expect_error(ErrorKind::usage, "top-p", [] { Sampler sampler(plain(1.0, 0, 1.5)); });
    expect_error(ErrorKind::usage, "top-p", [&] { Sampler sampler(plain(1.0, 0, nan)); });
    expect_error(ErrorKind::usage, "seed", [] { Sampler sampler(plain(1.0, 0, 1, k_seed_end)); });
    const auto refused = [](double SamplerOptions::*option, double value) {
        SamplerOptions options;
        options.*option = value;
        expect_error(ErrorKind::usage, "must be in", [&] { Sampler sampler(options); });
    };
    refused(&SamplerOptions::min_p, 1.5);
    refused(&SamplerOptions::repeat_penalty, 0);
    refused(&SamplerOptions::presence_penalty, nan);
    refused(&SamplerOptions::frequency_penalty, 1e9);
}

}  // namespace
}  // namespace orthorank
