// A forward pass in steps: others run while it waits, what is dropped halfway has never been, and a
// wrong batch is refused before anything is touched.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "engine/engine.h"
#include "engine/forward.h"
#include "graph/segment.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

class ForwardPassTest : public testing::Test {
 protected:
    ForwardPassTest() {
        EngineOptions options = test_options();
        options.n_sequences = 4;
        options.chunk_rows = 16;
        options.body_rows = 16;
        engine_.emplace(model_, options);
        alone_.emplace(model_, options);
    }

    std::vector<Plan> plans() const {
        return {dense_plan(n_layers_),
                select_plan(n_layers_, {1, 4}, 0.5),
                select_plan(n_layers_, {2}, 0.5, "attention-up"),
                select_plan(n_layers_, {2}, 0.5, "query"),
                select_plan(n_layers_, {2}, 0.5, "attention-output"),
                completed(select_plan(n_layers_, {2, 3}, 0.333, "probe"), n_embd_, 2)};
    }

    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    const int n_embd_ = model_.hparams().n_embd;
    const std::vector<int32_t> prompt_ = random_tokens(100, 71);
    const std::vector<int32_t> others_ = random_tokens(200, 72);
    std::optional<Engine> engine_;
    std::optional<Engine> alone_;
};

// Between any two of its graphs prompts and decode steps of other sequences run, and passes like
// it; both get the bits that they get without.
TEST_F(ForwardPassTest, OthersRunBetweenItsGraphs) {
    for (const Plan &plan : plans()) {
        Sequence waiting = engine_->new_sequence(plan, Apply::prefill);
        Sequence decoding = engine_->new_sequence(plans()[1]);
        Sequence straight = alone_->new_sequence(plan, Apply::prefill);
        Sequence straight_decoding = alone_->new_sequence(plans()[1]);
        const Logits expected = run(*alone_, straight, prompt_);
        run(*engine_, decoding, std::span(others_).first(20));
        run(*alone_, straight_decoding, std::span(others_).first(20));

        const Chunk chunk = chunk_of(waiting, prompt_);
        Logits logits;
        ForwardOptions options;
        options.on_logits = [&](const LogitsBlock &block) {
            logits.insert(logits.end(), block.logits, block.logits + block.n_rows * block.n_vocab);
        };
        ForwardPass pass(*engine_, std::span(&chunk, 1), options);
        size_t n_steps = 0;
        while (!pass.is_done()) {
            const auto token = std::span(others_).subspan(20 + n_steps, 1);
            EXPECT_TRUE(same_bits(run_steps(*engine_, decoding, token),
                                  run_steps(*alone_, straight_decoding, token)));
            Sequence another = engine_->new_sequence(plan, Apply::prefill);
            run(*engine_, another, std::span(others_).first(50));
            EXPECT_EQ(waiting.n_past(), 0);
            EXPECT_TRUE(waiting.is_in_pass());
            pass.step();
            ++n_steps;
        }
        EXPECT_GE(n_steps, 7u) << "100 rows in chunks of 16";
        EXPECT_FALSE(waiting.is_in_pass());
        EXPECT_EQ(waiting.n_past(), 100);
        EXPECT_TRUE(same_bits(logits, expected));
        for (int il = 0; il < n_layers_; ++il) {
            EXPECT_EQ(waiting.record(il).chosen, straight.record(il).chosen);
        }
    }
}

TEST_F(ForwardPassTest, OneThatIsDroppedHasNeverBeen) {
    for (const Plan &plan : plans()) {
        const bool needs_all = needs_whole_prompt(plan.layers[2].policy.score);
        Sequence sequence = engine_->new_sequence(plan, Apply::prefill);
        Sequence straight = alone_->new_sequence(plan, Apply::prefill);
        const auto all = std::span(prompt_);
        const size_t n_before = needs_all ? 0 : 30;
        run(*engine_, sequence, all.first(n_before));
        run(*alone_, straight, all.first(n_before));
        const int64_t n_offered = sequence.n_rows_offered();
        const Chunk chunk = chunk_of(sequence, others_);
        ForwardOptions options;
        options.on_logits = [](const LogitsBlock &) {};
        for (const int n_steps : {0, 1, 3, 20}) {
            ForwardPass pass(*engine_, std::span(&chunk, 1), options);
            for (int i = 0; i < n_steps && !pass.is_done(); ++i) {
                pass.step();
            }
            ASSERT_EQ(pass.is_done(), n_steps > 12 && plan.is_dense()) << n_steps;
            if (pass.is_done()) {
                sequence.truncate(static_cast<int64_t>(n_before));
            }
        }
        EXPECT_EQ(sequence.n_past(), static_cast<int64_t>(n_before));
        EXPECT_EQ(sequence.n_rows_offered(), n_offered);
        EXPECT_EQ(sequence.record(1).scores, straight.record(1).scores);
        EXPECT_TRUE(same_bits(run(*engine_, sequence, all.subspan(n_before)),
                              run(*alone_, straight, all.subspan(n_before))));
        EXPECT_EQ(sequence.record(1).chosen, straight.record(1).chosen);
    }
}

TEST_F(ForwardPassTest, HiddenRowsAreReportedAndUsedAgain) {
    const int64_t before = engine_->memory().hidden_bytes;
    Sequence first = engine_->new_sequence(plans()[1]);
    Sequence second = engine_->new_sequence(plans()[1]);
    const int64_t row_bytes = n_embd_ * 4;
    int64_t with_two = 0;
    for (int round = 0; round < 3; ++round) {
        const Chunk chunk = chunk_of(first, prompt_, Phase::prefill, Outputs::none);
        const Chunk other = chunk_of(second, others_, Phase::prefill, Outputs::none);
        const ForwardPass waiting(*engine_, std::span(&chunk, 1), {});
        EXPECT_GE(engine_->memory().hidden_bytes, before + 101 * row_bytes);
        const ForwardPass another(*engine_, std::span(&other, 1), {});
        EXPECT_GE(engine_->memory().hidden_bytes, before + (101 + 201) * row_bytes);
        with_two = round == 0 ? engine_->memory().hidden_bytes : with_two;
        EXPECT_EQ(engine_->memory().hidden_bytes, with_two);
    }
}

TEST_F(ForwardPassTest, WrongSequencesAreRefusedAndNothingIsTouched) {
    Sequence mine = engine_->new_sequence(plans()[1]);
    Sequence foreign = alone_->new_sequence(plans()[1]);
    run(*engine_, mine, prompt_);
    const auto refused = [&](Sequence &wrong, const char *message) {
        const std::vector<Chunk> batch = {chunk_of(mine, others_), chunk_of(wrong, others_)};
        expect_error(ErrorKind::request, message, [&] { run_batch(*engine_, batch); });
        EXPECT_EQ(mine.n_past(), 100);
        EXPECT_EQ(mine.record(1).scores.size(), 100u);
    };
    refused(foreign, "another engine, or one that has gone");
    EXPECT_EQ(foreign.n_past(), 0);
    Sequence gone = engine_->new_sequence(plans()[1]);
    const Sequence taken = std::move(gone);
    refused(gone, "another engine, or one that has gone");
    Sequence busy = engine_->new_sequence(plans()[0]);
    const Chunk chunk = chunk_of(busy, prompt_, Phase::prefill, Outputs::none);
    ForwardPass pass(*engine_, std::span(&chunk, 1), {});
    pass.step();
    refused(busy, "another pass has not finished with");
    EXPECT_THROW(busy.clear(), InternalError);
    EXPECT_THROW(engine_->fork(busy), InternalError);
}

// Decode steps beside a prompt attend in one operation, wherever the prompt stands in the batch.
TEST_F(ForwardPassTest, StepsBesideAPromptAreOneAttention) {
    struct Watch : GraphWatch {
        std::vector<std::pair<int, size_t>> seen;
        void on_graph(const SegmentGraph &graph) override {
            seen.emplace_back(graph.shape.rows.n_batched, graph.shape.rows.pieces.size());
        }
    };
    std::vector<Sequence> sequences, expected;
    for (int i = 0; i < 4; ++i) {
        sequences.push_back(engine_->new_sequence(plans()[0]));
        expected.push_back(alone_->new_sequence(plans()[0]));
        if (i > 0) {
            run(*engine_, sequences.back(), std::span(others_).subspan(i * 20, 20 + i));
            run(*alone_, expected.back(), std::span(others_).subspan(i * 20, 20 + i));
        }
    }
    const auto prompt = std::span(prompt_).first(10);
    std::vector<Chunk> batch;
    for (const size_t i : {size_t{1}, size_t{0}, size_t{3}, size_t{2}}) {
        batch.push_back(chunk_of(sequences[i], i == 0 ? prompt : std::span(others_).subspan(i, 1),
                                 i == 0 ? Phase::prefill : Phase::decode));
    }
    Watch watch;
    ForwardOptions options;
    options.watch = &watch;
    const std::vector<Logits> logits = run_batch(*engine_, batch, options);
    ASSERT_EQ(watch.seen.size(), 1u);
    EXPECT_EQ(watch.seen.front(), std::pair(3, size_t{1}));
    for (const auto &[i, at] : {std::pair(1, 0), std::pair(3, 2), std::pair(2, 3)}) {
        const auto at_i = static_cast<size_t>(i);
        const Logits alone =
            run_steps(*alone_, expected[at_i], std::span(others_).subspan(at_i, 1));
        EXPECT_TRUE(nmse_below(k_nmse_f32, logits[static_cast<size_t>(at)], alone)) << i;
    }
    EXPECT_TRUE(nmse_below(k_nmse_f32, logits[1], run(*alone_, expected[0], prompt)));
}

}  // namespace
}  // namespace orthorank::test
