#include "session/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "model/vocab.h"
#include "session/log_probs.h"
#include "session/trace.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;
using testing::ElementsAreArray;

class GenerateTest : public testing::Test {
 protected:
    GenerateTest() {
        write_tiny_gguf(test::tiny_llama(), dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
        make_engine(64);
    }
    void make_engine(int n_ctx) {
        engine_ = std::make_unique<Engine>(*model_, EngineOptions{.n_ctx = n_ctx, .n_threads = 1});
    }
    GenerateOptions greedy(int n_predict) const {
        GenerateOptions options;
        options.plan = dense_plan(model_->hparams().n_layers);
        options.n_predict = n_predict;
        options.sampler.temperature = 0;
        return options;
    }
    Plan selecting() const {
        Plan plan = dense_plan(model_->hparams().n_layers);
        plan.layers[1].action = Action::select;
        plan.layers[1].ratio = 0.4;
        return plan;
    }

    test::TempDir dir_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Engine> engine_;
    const std::vector<int32_t> prompt_ = {1, 270, 265, 272, 280, 261};
};

TEST_F(GenerateTest, GreedyTokensAreTheArgmaxOfEachStep) {
    const GenerateResult result = generate(*engine_, prompt_, greedy(8));
    Sequence sequence = engine_->new_sequence(dense_plan(model_->hparams().n_layers));
    std::vector<float> logits = forward_last(*engine_, sequence, prompt_, Phase::prefill);
    for (int32_t token : result.tokens) {
        EXPECT_EQ(token, argmax(logits));
        logits = forward_last(*engine_, sequence, std::span(&token, 1), Phase::decode);
    }
    EXPECT_EQ(result.n_prompt, 6);
    if (result.stop_reason == StopReason::length) {
        EXPECT_EQ(result.tokens.size(), 8u);
        EXPECT_EQ(result.n_decoded, 7) << "the last token is not run";
    }
}

TEST_F(GenerateTest, StreamsTheTextOfTheResult) {
    GenerateOptions options = greedy(20);
    options.sampler = {.temperature = 1.5, .top_k = 0, .top_p = 1.0, .seed = 3};
    std::string streamed;
    options.on_text = [&](std::string_view text) { streamed += text; };
    const GenerateResult result = generate(*engine_, prompt_, options);
    EXPECT_EQ(streamed, result.text);
    EXPECT_THAT(generate(*engine_, prompt_, options).tokens, ElementsAreArray(result.tokens));
    options.sampler.seed = 4;
    EXPECT_NE(generate(*engine_, prompt_, options).tokens, result.tokens);
}

TEST_F(GenerateTest, StopsWhenTheContextIsFull) {
    make_engine(10);
    const GenerateResult result = generate(*engine_, prompt_, greedy(-1));
    if (result.stop_reason == StopReason::end) {
        GTEST_SKIP() << "this model ends its text before the context is full";
    }
    EXPECT_EQ(result.stop_reason, StopReason::context);
    EXPECT_EQ(result.n_decoded, 4);
    EXPECT_EQ(result.tokens.size(), 5u) << "the last one needs no room";
}

TEST_F(GenerateTest, PromptMustFitTheContext) {
    make_engine(6);
    EXPECT_EQ(generate(*engine_, prompt_, greedy(1)).tokens.size(), 1u);
    make_engine(5);
    expect_error(ErrorKind::limit, "the prompt has 6 tokens, the context only 5",
                 [&] { generate(*engine_, prompt_, greedy(1)); });
    expect_error(ErrorKind::usage, "empty", [&] { generate(*engine_, {}, greedy(1)); });
}

TEST_F(GenerateTest, EndOfGenerationIsNotPartOfTheText) {
    GenerateOptions options = greedy(-1);
    options.sampler = {.temperature = 100.0, .top_k = 0, .top_p = 1.0, .seed = 0};
    int n_ended = 0;
    for (uint32_t seed = 0; seed < 30; ++seed) {
        options.sampler.seed = seed;
        const GenerateResult result = generate(*engine_, prompt_, options);
        n_ended += result.stop_reason == StopReason::end ? 1 : 0;
        for (int32_t token : result.tokens) {
            EXPECT_FALSE(model_->vocab().is_end_of_generation(token));
        }
    }
    EXPECT_GT(n_ended, 0) << "58 draws of nearly equal chances out of 288, 30 times";
}

TEST_F(GenerateTest, ApplyModeDecidesWhereRowsAreLeftOut) {
    GenerateOptions options = greedy(5);
    options.plan = selecting();
    options.plan.apply = Apply::prefill;
    const GenerateResult prefill = generate(*engine_, prompt_, options);
    EXPECT_EQ(prefill.n_rows_offered, 6);
    EXPECT_EQ(prefill.n_rows_computed, 2);  // int(0.4 * 6)
    options.plan.apply = Apply::decode;
    const GenerateResult decode = generate(*engine_, prompt_, options);
    EXPECT_EQ(decode.n_rows_offered, decode.n_decoded);
    EXPECT_LT(decode.n_rows_computed, decode.n_decoded);
}

// Ctrl-C asks so: after each graph of the prompt, not at its end, and the engine is as it was.
TEST_F(GenerateTest, MayBeEndedInTheMiddleOfAPrompt) {
    make_engine(2000);
    const std::vector<int32_t> prompt(1600, 270);
    GenerateOptions options = greedy(1);
    int n_steps = 0;
    options.on_step = [&] { ++n_steps; };
    generate(*engine_, prompt, options);
    EXPECT_GE(n_steps, 4) << "graphs of 512 rows";
    options.on_step = [] { throw Interrupted("now"); };
    EXPECT_THROW(generate(*engine_, prompt, options), Interrupted);
    TraceOptions tracing;
    tracing.plan = selecting();
    tracing.on_step = [](int) { throw Interrupted("now"); };
    EXPECT_THROW(trace(*engine_, prompt, tracing), Interrupted);
    options.on_step = {};
    EXPECT_EQ(generate(*engine_, prompt, options).n_prompt, 1600);
}

TEST(ContextFor, HoldsAllButTheLastToken) {
    EXPECT_EQ(context_for(10, 5, 100), 14);
    EXPECT_EQ(context_for(10, 0, 100), 10);
    EXPECT_EQ(context_for(10, -1, 100), 100);
    EXPECT_EQ(context_for(90, 50, 100), 100);
    EXPECT_EQ(context_for(500, 1, 100), 100);
    EXPECT_EQ(context_for(0, 0, 100), 1);
}

TEST_F(GenerateTest, TraceShowsScoresAndRowsByPosition) {
    TraceOptions options;
    options.plan = selecting();
    const TraceResult result = trace(*engine_, prompt_, options);
    EXPECT_THAT(result.tokens, ElementsAreArray(prompt_));
    ASSERT_EQ(result.layers.size(), 1u);
    EXPECT_EQ(result.layers[0].index, 1);
    EXPECT_EQ(result.layers[0].scores.size(), 6u);
    ASSERT_EQ(result.layers[0].rows.size(), 2u);
    EXPECT_FALSE(result.layers[0].is_computed(0)) << "the sink";
    // The chosen ones are the smallest.
    for (int32_t i = 1; i < 6; ++i) {
        for (int32_t row : result.layers[0].rows) {
            EXPECT_TRUE(result.layers[0].is_computed(i) ||
                        result.layers[0].scores[static_cast<size_t>(row)] <=
                            result.layers[0].scores[static_cast<size_t>(i)]);
        }
    }
}

TEST_F(GenerateTest, TraceGoesOnWithDecodedTokens) {
    TraceOptions options;
    options.plan = selecting();
    options.n_decode = 4;
    const TraceResult result = trace(*engine_, prompt_, options);
    GenerateOptions same = greedy(4);
    same.plan = options.plan;
    const GenerateResult generated = generate(*engine_, prompt_, same);
    EXPECT_EQ(result.n_prompt, 6u);
    EXPECT_THAT(std::vector<int32_t>(result.tokens.begin() + 6, result.tokens.end()),
                ElementsAreArray(generated.tokens));
    EXPECT_EQ(result.pieces.size(), result.tokens.size());
    EXPECT_EQ(result.layers[0].scores.size(), result.tokens.size());
}

TEST_F(GenerateTest, TraceOfAttentionReceivedIsOfThePrefillOnly) {
    TraceOptions options;
    options.plan = selecting();
    options.plan.layers[1].policy = policy_from_name("attention-up");
    EXPECT_EQ(trace(*engine_, prompt_, options).layers[0].rows.size(), 2u);
    options.n_decode = 1;
    expect_error(ErrorKind::usage, "attention-up", [&] { trace(*engine_, prompt_, options); });
}

}  // namespace
}  // namespace orthorank
