// Plans for prompts: the rows that are kept, rows taken from an earlier layer, and the dense decode
// behind a prompt, seen from outside.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "select/selection.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

class PromptPlanTest : public testing::Test {
 protected:
    Plan keeping(int keep_last, double ratio = 0.25) const {
        Plan plan = select_plan(n_layers_, {k_layer}, ratio);
        plan.apply = Apply::prefill;
        plan.keep_last = keep_last;
        return plan;
    }
    // The plan whose layer behind k_layer takes its rows.
    Plan inheriting() const {
        Plan plan = keeping(3);
        plan.layers[k_layer + 1] = {Action::select, 0.25, policy_from_name("inherit")};
        return plan;
    }

    static constexpr int k_layer = 0;
    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    Engine engine_{model_, test_options()};
};

std::vector<int32_t> rows_of(const std::vector<uint8_t> &chosen) {
    std::vector<int32_t> rows;
    for (size_t i = 0; i < chosen.size(); ++i) {
        if (chosen[i] != 0) {
            rows.push_back(static_cast<int32_t>(i));
        }
    }
    return rows;
}

TEST_F(PromptPlanTest, LastRowsAreComputedBesideThePickedOnesOfThoseBefore) {
    for (const auto &[n, keep_last] : {std::pair{100, 16}, {100, 1}, {100, 0}, {40, 39}}) {
        Sequence sequence = engine_.new_sequence(keeping(keep_last));
        run(engine_, sequence, random_tokens(n, 7), Outputs::last);
        const LayerRecord &record = sequence.record(k_layer);
        const auto n_before = static_cast<size_t>(n - keep_last);
        std::vector<int32_t> expected =
            pick_rows(PickOrder::smallest, std::span(record.scores).first(n_before), 0, 0.25);
        EXPECT_EQ(expected.size(), n_before / 4);
        for (int row = n - keep_last; row < n; ++row) {
            expected.push_back(row);
        }
        EXPECT_EQ(rows_of(record.chosen), expected) << n << " " << keep_last;
        EXPECT_EQ(sequence.n_rows_offered(), n);
        EXPECT_EQ(sequence.n_rows_computed(), static_cast<int64_t>(expected.size()));
    }
}

TEST_F(PromptPlanTest, APromptNoLongerThanTheKeptRowsIsDense) {
    const auto tokens = random_tokens(30, 8);
    Sequence dense = engine_.new_sequence(dense_plan(n_layers_));
    const Logits expected = run(engine_, dense, tokens);
    for (const int keep_last : {30, 31, 1 << 20}) {
        Engine other(model_, test_options());
        Sequence sequence = other.new_sequence(keeping(keep_last));
        EXPECT_TRUE(nmse_below(k_nmse_f32, run(other, sequence, tokens), expected));
        EXPECT_EQ(sequence.n_rows_computed(), 30);
    }
}

TEST_F(PromptPlanTest, InheritedRowsAreThoseOfTheLayerBefore) {
    const auto tokens = random_tokens(80, 9);
    Sequence sequence = engine_.new_sequence(inheriting());
    HiddenTap tap({k_layer + 1, k_layer + 2});
    run(engine_, sequence, tokens, Outputs::last, &tap);
    EXPECT_EQ(sequence.record(k_layer + 1).chosen, sequence.record(k_layer).chosen);
    EXPECT_EQ(sequence.n_rows_computed(), 2 * (3 + 77 / 4));
    const auto n_embd = static_cast<size_t>(model_.hparams().n_embd);
    for (size_t row = 0; row < tokens.size(); ++row) {
        const auto part = [&](int boundary) {
            return std::span(tap.hidden(boundary)).subspan(row * n_embd, n_embd);
        };
        EXPECT_EQ(static_cast<bool>(same_bits(part(k_layer + 2), part(k_layer + 1))),
                  sequence.record(k_layer).chosen[row] == 0);
    }
}

TEST_F(PromptPlanTest, InheritedRowsInDecodeAndInBatches) {
    Plan plan = inheriting();
    plan.apply = Apply::both;
    plan.keep_last = 0;
    EngineOptions options = test_options();
    options.n_sequences = 2;
    Engine engine(model_, options);
    Sequence first = engine.new_sequence(plan);
    Sequence second = engine.new_sequence(plan);
    const auto tokens = random_tokens(60, 10);
    const auto others = random_tokens(45, 11);
    run(engine, first, std::span(tokens).first(40), Outputs::last);
    run(engine, second, std::span(others).first(25), Outputs::last);
    for (size_t i = 0; i < 20; ++i) {
        const std::vector<Chunk> batch = {
            chunk_of(first, std::span(tokens).subspan(40 + i, 1), Phase::decode),
            chunk_of(second, std::span(others).subspan(25 + i, 1), Phase::decode)};
        run_batch(engine, batch);
    }
    for (const Sequence *sequence : {&first, &second}) {
        const auto &chosen = sequence->record(k_layer).chosen;
        EXPECT_EQ(sequence->record(k_layer + 1).chosen, chosen);
        EXPECT_EQ(static_cast<int64_t>(chosen.size()), sequence->n_past());
    }
    EXPECT_LT(first.n_rows_computed(), first.n_rows_offered());
}

TEST_F(PromptPlanTest, DecodeBehindThePromptIsDenseAndLaterPromptsGoOn) {
    const auto tokens = random_tokens(90, 12);
    const std::span<const int32_t> all(tokens);
    Sequence sequence = engine_.new_sequence(keeping(0));
    run(engine_, sequence, all.first(50), Outputs::last);
    EXPECT_EQ(sequence.n_rows_offered(), 50);
    run_steps(engine_, sequence, all.subspan(50, 10));
    EXPECT_EQ(sequence.n_rows_offered(), 50) << "only where the plan applies";
    run(engine_, sequence, all.last(30), Outputs::last);
    const LayerRecord &record = sequence.record(k_layer);
    ASSERT_EQ(record.scores.size(), 90u);
    for (size_t i = 50; i < 60; ++i) {
        EXPECT_TRUE(std::isnan(record.scores[i])) << "a decoded row has no score";
        EXPECT_EQ(record.chosen[i], 1);
    }
    EXPECT_EQ(sequence.n_rows_offered(), 80);
    const auto rows = pick_rows(PickOrder::smallest, record.scores, 60, 0.25);
    EXPECT_EQ(sequence.n_rows_computed(), 50 / 4 + static_cast<int64_t>(rows.size()));
    EXPECT_GT(rows.size(), 0u);
}

// What the last rows attend to: each spreads one unit a head over the rows up to its own.
TEST_F(PromptPlanTest, QueryScoresAreTheAttentionOfTheLastRows) {
    const auto tokens = random_tokens(60, 13);
    const auto scores_with = [&](const std::string &policy, int window) {
        Plan plan = select_plan(n_layers_, {1}, 0.25, policy);
        plan.layers[1].policy.window = window;
        plan.apply = Apply::prefill;
        Sequence sequence = engine_.new_sequence(plan);
        run(engine_, sequence, tokens, Outputs::last);
        std::vector<float> scores = sequence.record(1).scores;
        EXPECT_EQ(rows_of(sequence.record(1).chosen),
                  pick_rows(PickOrder::largest, scores, 0, 0.25));
        return scores;
    };
    const std::vector<float> all = scores_with("attention-up", 0);
    EXPECT_EQ(scores_with("query", 60), all);
    EXPECT_EQ(scores_with("query", 1 << 30), all) << "there are no more rows than that";
    const std::vector<float> of_7 = scores_with("query", 7);
    const std::vector<float> of_last = scores_with("query", 1);
    double sum_7 = 0;
    double sum_last = 0;
    for (size_t i = 1; i < tokens.size(); ++i) {
        EXPECT_LE(of_last[i], of_7[i]);
        EXPECT_LE(of_7[i], all[i] * (1 + 1e-5f));
        sum_7 += double{of_7[i]};
        sum_last += double{of_last[i]};
    }
    EXPECT_GT(of_last[59], 0.0f);
    // The sink's own part is recorded as infinite, and is all that is missing.
    const int n_head = model_.hparams().layers[1].n_head;
    EXPECT_LT(sum_last, n_head);
    EXPECT_GT(sum_last, 0.5 * n_head);
    EXPECT_LT(sum_7, 7 * n_head);
    EXPECT_GT(sum_7, 7 * 0.5 * n_head);
}

// A prompt of more than one chunk, of an engine as users have it: the rows are those of a single
// chunk.
TEST_F(PromptPlanTest, PoliciesOfPromptsDoNotDependOnChunks) {
    const auto model = load_tiny(tiny_llama_gqa_tied());
    const auto tokens = random_tokens(700, 14);
    for (const char *policy : {"query", "attention-output"}) {
        Plan plan = select_plan(model->hparams().n_layers, {0, 1}, 0.25, policy);
        plan.apply = Apply::prefill;
        std::vector<std::vector<uint8_t>> chosen;
        for (const int chunk_rows : {512, 1024}) {
            EngineOptions options = test_options();
            options.n_ctx = 704;
            options.chunk_rows = chunk_rows;
            Engine engine(*model, options);
            Sequence sequence = engine.new_sequence(plan);
            run(engine, sequence, tokens, Outputs::last);
            chosen.push_back(sequence.record(1).chosen);
            EXPECT_EQ(rows_of(chosen.back()).size(), 175u);
        }
        EXPECT_EQ(chosen[0], chosen[1]) << policy;
    }
}

TEST_F(PromptPlanTest, InheritWithoutALayerBeforeItIsRefused) {
    Plan plan = dense_plan(n_layers_);
    plan.layers[1] = {Action::select, 0.5, policy_from_name("inherit")};
    expect_error(ErrorKind::usage, "layer 1: policy inherit takes the rows of an earlier selecting",
                 [&] { engine_.new_sequence(plan); });
}

}  // namespace
}  // namespace orthorank::test
