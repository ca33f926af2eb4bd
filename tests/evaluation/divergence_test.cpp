// KL divergence and greedy answers against their definitions.
#include "evaluation/divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "evaluation/perplexity.h"
#include "session/answers.h"
#include "session/log_probs.h"
#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

std::vector<double> softmax(std::span<const float> logits) {
    std::vector<double> values;
    double sum = 0;
    for (const float logit : logits) {
        values.push_back(std::exp(static_cast<double>(logit)));
        sum += values.back();
    }
    for (double &value : values) {
        value /= sum;
    }
    return values;
}

TEST(KlDivergence, OfTwoRows) {
    const std::vector<float> p = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
    const std::vector<float> q = {3 + std::log(0.25f), 3 + std::log(0.25f), 3 + std::log(0.5f)};
    EXPECT_NEAR(kl_divergence(p, q), 0.25 * std::log(2.0), 1e-6);
    EXPECT_NEAR(kl_divergence(p, p), 0.0, 1e-7);
    EXPECT_GE(kl_divergence(q, q), 0.0);
}

TEST(Divergence, IsThatOfAllRowsButEachWindowsLast) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const int n_layers = model.hparams().n_layers;
    Engine engine(model, test_options());
    const std::vector<Plan> plans = {dense_plan(n_layers), skip_plan(n_layers, {1})};
    Windows windows;
    windows.n_ctx = 12;
    add_windows(windows, random_tokens(24, 7));
    const auto results = perplexity(engine, windows, plans, {}, /*with_divergence=*/true);
    const auto n_vocab = static_cast<size_t>(model.hparams().n_vocab);
    double sum = 0;
    double max = 0;
    size_t n_same = 0;
    for (size_t w = 0; w < 2; ++w) {
        std::vector<Logits> logits;
        for (const Plan &plan : plans) {
            Sequence sequence = engine.new_sequence(plan);
            logits.push_back(run(engine, sequence, windows.window(w)));
        }
        for (size_t row = 0; row < 11; ++row) {
            const auto p_row = std::span(logits[0]).subspan(row * n_vocab, n_vocab);
            const auto q_row = std::span(logits[1]).subspan(row * n_vocab, n_vocab);
            const std::vector<double> p = softmax(p_row);
            const std::vector<double> q = softmax(q_row);
            double kl = 0;
            for (size_t i = 0; i < n_vocab; ++i) {
                kl += p[i] * std::log(p[i] / q[i]);
            }
            sum += kl;
            max = std::max(max, kl);
            n_same += argmax(p_row) == argmax(q_row) ? 1 : 0;
        }
    }
    ASSERT_TRUE(results[1].divergence);
    EXPECT_EQ(results[1].divergence->n_rows, 22u);
    EXPECT_NEAR(results[1].divergence->mean, sum / 22, 1e-4 * (1 + sum / 22));
    EXPECT_NEAR(results[1].divergence->max, max, 1e-4 * (1 + max));
    EXPECT_LE(results[1].divergence->median, results[1].divergence->p90);
    EXPECT_LE(results[1].divergence->p99, results[1].divergence->max);
    EXPECT_NEAR(results[1].divergence->same_top, static_cast<double>(n_same) / 22, 1e-12);
    EXPECT_EQ(results[0].divergence->mean, 0.0);
    EXPECT_EQ(results[0].divergence->same_top, 1.0);
    EXPECT_FALSE(perplexity(engine, windows, plans)[1].divergence);
}

TEST(GreedyAnswers, TogetherAreOneByOne) {
    const Model &model = fixture_model("tiny-llama-gqa");
    EngineOptions engine_options = test_options();
    engine_options.n_sequences = 3;
    Engine engine(model, engine_options);
    const std::vector<std::vector<int32_t>> prompts = {random_tokens(9, 1), random_tokens(20, 2),
                                                       random_tokens(4, 3)};
    for (const Plan &plan :
         {dense_plan(model.hparams().n_layers), select_plan(model.hparams().n_layers, {1}, 0.4)}) {
        AnswerOptions options;
        options.plan = plan;
        options.max_new_tokens = 12;
        const std::vector<Answer> answers = greedy_answers(engine, prompts, options);
        ASSERT_EQ(answers.size(), 3u);
        for (size_t i = 0; i < prompts.size(); ++i) {
            EXPECT_LE(answers[i].tokens.size(), 12u);
            EXPECT_EQ(answers[i].tokens,
                      greedy_answers(engine, std::span(prompts).subspan(i, 1), options)[0].tokens);
        }
        // The first token as a stop token cannot be chosen first, then it ends the answer.
        options.stop_token = answers[0].tokens.at(0);
        const Answer other = greedy_answers(engine, std::span(prompts).first(1), options)[0];
        ASSERT_FALSE(other.tokens.empty());
        for (const int32_t token : other.tokens) {
            EXPECT_NE(token, options.stop_token);
        }
        options.stop_token = -1;
        options.max_new_tokens = 0;
        EXPECT_TRUE(greedy_answers(engine, prompts, options)[1].tokens.empty());
    }
}

}  // namespace
}  // namespace orthorank::test
