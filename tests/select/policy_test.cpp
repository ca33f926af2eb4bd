#include "select/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

TEST(Policy, NamesGoThereAndBack) {
    const std::vector<std::string_view> names = policy_names();
    EXPECT_THAT(names, testing::UnorderedElementsAre(
                           "orthogonal", "orthogonal-reverse", "orthogonal-raw", "orthogonal-no-kv",
                           "random", "norm-up", "norm-down", "attention-up", "query",
                           "attention-output", "cosine", "probe", "inherit"));
    for (std::string_view name : names) {
        EXPECT_EQ(policy_name(policy_from_name(name)), name);
    }
}

TEST(Policy, DefaultIsThePapers) {
    EXPECT_EQ(policy_name(Policy{}), "orthogonal");
    EXPECT_EQ(policy_from_name("orthogonal"), Policy{});
}

TEST(Policy, PartsOfTheControls) {
    EXPECT_EQ(policy_from_name("orthogonal-reverse").order, PickOrder::largest);
    EXPECT_EQ(policy_from_name("orthogonal-raw").score, ScoreKind::inner_raw);
    EXPECT_EQ(policy_from_name("orthogonal-no-kv").kv, KvScope::selected);
    EXPECT_EQ(policy_from_name("random").score, ScoreKind::hash);
    EXPECT_EQ(policy_from_name("norm-up").order, PickOrder::largest);
    EXPECT_EQ(policy_from_name("norm-down").order, PickOrder::smallest);
    EXPECT_EQ(policy_from_name("attention-up").order, PickOrder::largest);
    EXPECT_EQ(policy_from_name("attention-up").score, ScoreKind::attention);
    EXPECT_EQ(policy_from_name("query").order, PickOrder::largest);
    EXPECT_EQ(policy_from_name("query").score, ScoreKind::query);
    EXPECT_EQ(policy_from_name("query").window, 32);
    EXPECT_EQ(policy_from_name("attention-output").order, PickOrder::largest);
    EXPECT_EQ(policy_from_name("attention-output").score, ScoreKind::attention_output);
    EXPECT_EQ(policy_from_name("cosine").score, ScoreKind::cosine);
    EXPECT_EQ(policy_from_name("probe").score, ScoreKind::probe);
    EXPECT_EQ(policy_from_name("probe").order, PickOrder::largest);
}

TEST(Policy, SeedAndWindowAreNotPartOfTheName) {
    Policy policy = policy_from_name("random");
    policy.seed = 7;
    EXPECT_EQ(policy_name(policy), "random");
    policy = policy_from_name("query");
    policy.window = 7;
    EXPECT_EQ(policy_name(policy), "query");
}

TEST(Policy, ThoseThatNeedTheWholePrompt) {
    std::vector<std::string_view> names;
    for (const std::string_view name : policy_names()) {
        if (needs_whole_prompt(policy_from_name(name).score)) {
            names.push_back(name);
        }
    }
    EXPECT_THAT(names, testing::ElementsAre("attention-up", "query"));
}

TEST(Policy, UnknownNameListsTheKnownOnes) {
    try {
        policy_from_name("orthogonl");
        FAIL() << "accepted";
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        EXPECT_STREQ(error.what(),
                     "unknown policy \"orthogonl\" (known: orthogonal, orthogonal-reverse, "
                     "orthogonal-raw, orthogonal-no-kv, random, norm-up, norm-down, attention-up, "
                     "query, attention-output, cosine, probe, inherit)");
    }
}

TEST(Policy, CombinationWithoutANameIsOurBug) {
    EXPECT_THROW(policy_name({ScoreKind::cosine, PickOrder::largest, KvScope::all, 0}),
                 InternalError);
}

// Literals from an implementation of the formula in Python integers.
TEST(HashScore, IsTheFormula) {
    const float unit = 1.0f / 16777216.0f;
    EXPECT_EQ(hash_score(0, 0, 0), 9776916.0f * unit);
    EXPECT_EQ(hash_score(0, 0, 1), 1313803.0f * unit);
    EXPECT_EQ(hash_score(1, 13, 7), 7610499.0f * unit);
    EXPECT_EQ(hash_score(42, 26, 2047), 9318598.0f * unit);
    EXPECT_EQ(hash_score(UINT64_MAX, 79, 8191), 9451077.0f * unit);
}

TEST(HashScore, IsUniformAndChangesWithSeedAndLayer) {
    int n_low = 0;
    int n_same = 0;
    constexpr int k_n = 20000;
    for (int i = 0; i < k_n; ++i) {
        const float score = hash_score(3, 5, i);
        ASSERT_GE(score, 0.0f);
        ASSERT_LT(score, 1.0f);
        n_low += score < 0.333f ? 1 : 0;
        n_same += score == hash_score(4, 5, i) || score == hash_score(3, 6, i) ? 1 : 0;
    }
    EXPECT_NEAR(n_low, 0.333 * k_n, 0.02 * k_n);
    EXPECT_LT(n_same, 5);
}

}  // namespace
}  // namespace orthorank
