#include "evaluation/passkey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "evaluation/passkey_run.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

TEST(Passkey, NumbersHaveFiveDigitsAndDiffer) {
    std::set<std::string> keys;
    for (uint64_t i = 0; i < 100; ++i) {
        const std::string key = passkey_of(7, i);
        EXPECT_EQ(key.size(), 5u);
        EXPECT_NE(key.front(), '0');
        keys.insert(key);
    }
    EXPECT_GT(keys.size(), 95u);
    EXPECT_EQ(passkey_of(7, 3), passkey_of(7, 3));
    EXPECT_NE(passkey_of(8, 3), passkey_of(7, 3));
}

TEST(Passkey, TheFirstNumberOfAnAnswerCounts) {
    EXPECT_EQ(first_number(" 71432."), "71432");
    EXPECT_EQ(first_number("It is 12, not 34"), "12");
    EXPECT_EQ(first_number("714 32"), "714");
    EXPECT_EQ(first_number("none"), "");
}

class PasskeyPromptTest : public testing::Test {
 protected:
    const Model &model_ = fixture_model("tiny-llama-gqa");
    const Vocab &vocab_ = model_.vocab();
    PasskeyTask task_{vocab_};
    std::vector<int32_t> filler_ = std::vector<int32_t>(900, vocab_.tokenize("x", false).back());
};

TEST_F(PasskeyPromptTest, HasTheKeyAtItsDepthAndTheAskedLength) {
    for (const double depth : {0.0, 0.25, 1.0}) {
        const auto tokens = task_.prompt(filler_, 600, depth, "31415");
        EXPECT_EQ(tokens.size(), 600u);
        const std::string text = vocab_.detokenize(tokens);
        const size_t at = text.find("31415");
        ASSERT_NE(at, std::string::npos);
        const size_t n_x = static_cast<size_t>(std::count(text.begin(), text.end(), 'x')) -
                           static_cast<size_t>(std::count(text.begin(), text.end(), 'X'));
        const auto n_before =
            static_cast<double>(std::count(text.begin(), text.begin() + long(at), 'x'));
        EXPECT_NEAR(n_before / static_cast<double>(n_x), depth, 0.02);
        EXPECT_THAT(text, testing::EndsWith("The secret number is"));
        EXPECT_LT(at, text.find("What is the secret number"));
    }
    EXPECT_EQ(vocab_.detokenize(task_.answer("31415")).substr(0, 6), " 31415");
}

TEST_F(PasskeyPromptTest, WhatDoesNotFitIsRefused) {
    expect_error(ErrorKind::limit, "a pass key prompt of 8 tokens: its sentences alone have",
                 [&] { task_.prompt(filler_, 8, 0.5, "31415"); });
    expect_error(ErrorKind::limit, "tokens of text, there are only 900",
                 [&] { task_.prompt(filler_, 4000, 0.5, "31415"); });
}

// A model that always answers with the same token finds nothing; plans see the same prompts.
TEST_F(PasskeyPromptTest, ResultsByLengthPlanAndDepth) {
    EngineOptions engine_options = test_options();
    Engine engine(model_, engine_options);
    PasskeyOptions options;
    options.lengths = {300, 400};
    options.depths = {0.5, 0.9};
    options.n_each = 2;
    const std::vector<Plan> plans = {dense_plan(model_.hparams().n_layers),
                                     select_plan(model_.hparams().n_layers, {1}, 0.5)};
    size_t n_done = 0;
    options.on_progress = [&](size_t n, size_t n_all) {
        n_done = n;
        EXPECT_EQ(n_all, 16u);
    };
    const auto results = run_passkey(engine, filler_, plans, options);
    ASSERT_EQ(results.size(), 4u);
    EXPECT_EQ(n_done, 16u);
    for (const PasskeyResult &result : results) {
        EXPECT_EQ(result.values.size(), 4u);
        EXPECT_EQ(result.by_depth.size(), 2u);
        EXPECT_EQ(result.value.mean, 0.0) << "an untrained model";
    }
    EXPECT_EQ(results[2].length, 400);
    EXPECT_EQ(results[3].plan, 1u);
}

}  // namespace
}  // namespace orthorank::test
