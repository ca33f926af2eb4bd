// Sequences that share a forward call, ragged and with plans of their own, get what each would get
// alone: prompts together, decode steps together, both mixed.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

struct Member {
    Plan plan;
    std::vector<int32_t> tokens;
    Apply apply = Apply::both;
    Outputs outputs = Outputs::all;
};

class BatchTest : public testing::TestWithParam<std::string> {
 protected:
    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;

    EngineOptions options(int n_sequences, int chunk_rows = 512) const {
        EngineOptions options = test_options();
        options.n_sequences = n_sequences;
        options.chunk_rows = chunk_rows;
        return options;
    }

    // Dense, two kinds of selection in the same and in other layers, removed layers, one token.
    std::vector<Member> members() const {
        const int last = n_layers_ - 1;
        Plan mixed = select_plan(n_layers_, {0, last}, 0.5, "norm-up");
        mixed.layers[1].action = Action::skip;
        return {
            {dense_plan(n_layers_), random_tokens(33, 21)},
            {select_plan(n_layers_, {1, 2}, 0.333), random_tokens(101, 22)},
            {select_plan(n_layers_, {1}, 0.6, "cosine"), random_tokens(7, 23)},
            {skip_plan(n_layers_, {1, last}), random_tokens(64, 24)},
            {mixed, random_tokens(80, 25), Apply::both, Outputs::last},
            {select_plan(n_layers_, {2}, 0.333, "orthogonal-no-kv"), random_tokens(1, 26)},
            {select_plan(n_layers_, {1, last}, 0.25, "random", 5), random_tokens(50, 27),
             Apply::decode},
            {select_plan(n_layers_, {1, 2}, 0.333, "attention-up"), random_tokens(60, 28),
             Apply::prefill},
            {select_plan(n_layers_, {1, 2}, 0.333, "query"), random_tokens(75, 30), Apply::prefill},
            {select_plan(n_layers_, {1, 2}, 0.333, "attention-output"), random_tokens(44, 31)},
            {select_plan(n_layers_, {1}, 0.4, "orthogonal-raw"), random_tokens(20, 29), Apply::both,
             Outputs::none}};
    }

    void expect_same(const Sequence &found, const Sequence &expected) const {
        EXPECT_EQ(found.n_past(), expected.n_past());
        EXPECT_EQ(found.n_rows_offered(), expected.n_rows_offered());
        EXPECT_EQ(found.n_rows_computed(), expected.n_rows_computed());
        for (int il = 0; il < n_layers_; ++il) {
            EXPECT_TRUE(same_record(found.record(il), expected.record(il), 1e-4)) << "layer " << il;
        }
    }

    static void expect_logits(const Logits &found, const Logits &expected) {
        if (!found.empty() || !expected.empty()) {
            EXPECT_TRUE(nmse_below(k_nmse_f32, found, expected));
        }
    }
};

TEST_P(BatchTest, RaggedPromptsAreOneByOne) {
    const std::vector<Member> members = this->members();
    const int n = static_cast<int>(members.size());
    for (const int chunk_rows : {512, 64, 19}) {
        SCOPED_TRACE(chunk_rows);
        Engine engine(model_, options(n, chunk_rows));
        Engine alone(model_, options(1));
        std::vector<Sequence> sequences;
        std::vector<Chunk> batch;
        sequences.reserve(members.size());  // chunks point at them
        for (const Member &member : members) {
            sequences.push_back(engine.new_sequence(member.plan, member.apply));
            batch.push_back(
                chunk_of(sequences.back(), member.tokens, Phase::prefill, member.outputs));
        }
        const std::vector<Logits> logits = run_batch(engine, batch);
        for (size_t i = 0; i < members.size(); ++i) {
            SCOPED_TRACE(i);
            Sequence expected = alone.new_sequence(members[i].plan, members[i].apply);
            expect_logits(logits[i], run(alone, expected, members[i].tokens, members[i].outputs));
            expect_same(sequences[i], expected);
        }
    }
}

// Steps of 2 to 9 sequences in slots with holes; members join and leave the batch.
TEST_P(BatchTest, DecodeTogetherIsOneByOne) {
    const std::vector<Member> members = this->members();
    const size_t n = members.size();
    for (const int chunk_rows : {512, 4}) {
        Engine engine(model_, options(static_cast<int>(2 * n), chunk_rows));
        std::vector<std::unique_ptr<Engine>> alone;
        std::vector<Sequence> sequences, expected, holes;
        for (const Member &member : members) {
            holes.push_back(engine.new_sequence(member.plan, Apply::prefill));
            sequences.push_back(engine.new_sequence(member.plan, member.apply));
            alone.push_back(std::make_unique<Engine>(model_, options(1)));
            expected.push_back(alone.back()->new_sequence(member.plan, member.apply));
            run(engine, sequences.back(), member.tokens, Outputs::none);
            run(*alone.back(), expected.back(), member.tokens, Outputs::none);
        }
        for (size_t step = 0; step < 24; ++step) {
            SCOPED_TRACE(testing::Message() << "step " << step);
            const std::vector<int32_t> tokens = random_tokens(static_cast<int>(n), 100 + step);
            std::vector<size_t> present;
            for (size_t i = 0; i < n; ++i) {
                // All, then pairs, then every other one.
                if (step < 8 || (step < 16 && i / 2 == step % 4) || (step >= 16 && i % 2 == 0)) {
                    present.push_back(i);
                }
            }
            if (step % 2 == 1) {  // any order of slots, and a selecting row first
                std::reverse(present.begin(), present.end());
            }
            std::vector<Chunk> batch;
            for (const size_t i : present) {
                const bool is_silent = step % 3 == 2 && i == 0;
                batch.push_back(chunk_of(sequences[i], std::span(&tokens[i], 1), Phase::decode,
                                         is_silent ? Outputs::none : Outputs::last));
            }
            const std::vector<Logits> logits = run_batch(engine, batch);
            for (size_t k = 0; k < present.size(); ++k) {
                const size_t i = present[k];
                SCOPED_TRACE(testing::Message() << "member " << i);
                const Logits one =
                    forward_last(*alone[i], expected[i], std::span(&tokens[i], 1), Phase::decode);
                if (batch[k].outputs == Outputs::last) {
                    expect_logits(logits[k], one);
                }
            }
        }
        for (size_t i = 0; i < n; ++i) {
            SCOPED_TRACE(testing::Message() << "member " << i);
            expect_same(sequences[i], expected[i]);
        }
    }
}

// A prompt and decode steps in one call: continuous batching.
TEST_P(BatchTest, PromptBesideDecodeSteps) {
    const std::vector<Member> members = this->members();
    for (const int chunk_rows : {512, 30}) {
        Engine engine(model_, options(4, chunk_rows));
        Engine alone(model_, options(4));
        std::vector<Sequence> sequences, expected;
        for (size_t i = 0; i < 4; ++i) {
            sequences.push_back(engine.new_sequence(members[i].plan));
            expected.push_back(alone.new_sequence(members[i].plan));
        }
        for (size_t i = 0; i < 3; ++i) {
            run(engine, sequences[i], members[i].tokens, Outputs::none);
            run(alone, expected[i], members[i].tokens, Outputs::none);
        }
        const auto tokens = random_tokens(3, 40);
        std::vector<Chunk> batch;
        for (size_t i = 0; i < 3; ++i) {
            batch.push_back(
                chunk_of(sequences[i], std::span(&tokens[i], 1), Phase::decode, Outputs::last));
        }
        batch.insert(batch.begin() + 1, chunk_of(sequences[3], members[3].tokens));
        const std::vector<Logits> logits = run_batch(engine, batch);
        expect_logits(logits[1], run(alone, expected[3], members[3].tokens));
        for (size_t i = 0; i < 3; ++i) {
            expect_logits(
                logits[i == 0 ? 0 : i + 1],
                forward_last(alone, expected[i], std::span(&tokens[i], 1), Phase::decode));
            expect_same(sequences[i], expected[i]);
        }
        expect_same(sequences[3], expected[3]);
    }
}

// Ragged sequences interrupted and resumed at a layer together, with taps, as calibration and
// evaluation do.
TEST_P(BatchTest, ResumedTogetherIsOneByOne) {
    std::vector<Member> members = this->members();
    members.resize(3);
    const int layer = 1;
    const std::vector<int> boundaries = {layer, layer + 1, n_layers_};
    Engine engine(model_, options(3, 40));
    Engine alone(model_, options(1));
    std::vector<Sequence> sequences;
    std::vector<Chunk> batch;
    sequences.reserve(members.size());  // chunks point at them
    for (const Member &member : members) {
        sequences.push_back(engine.new_sequence(member.plan));
        batch.push_back(chunk_of(sequences.back(), member.tokens, Phase::prefill, Outputs::none));
    }
    HiddenTap stopped({layer});
    ForwardOptions to_layer;
    to_layer.end_layer = layer;
    to_layer.tap = &stopped;
    run_batch(engine, batch, to_layer);
    for (size_t i = 0; i < batch.size(); ++i) {
        sequences[i].truncate(0);
        batch[i].tokens = {};
        batch[i].hidden = stopped.hidden(layer, i);
        batch[i].outputs = Outputs::all;
    }
    HiddenTap resumed(boundaries);
    ForwardOptions from_layer;
    from_layer.first_layer = layer;
    from_layer.tap = &resumed;
    const std::vector<Logits> logits = run_batch(engine, batch, from_layer);
    for (size_t i = 0; i < members.size(); ++i) {
        SCOPED_TRACE(i);
        Sequence expected = alone.new_sequence(members[i].plan);
        HiddenTap tap(boundaries);
        expect_logits(logits[i], run(alone, expected, members[i].tokens, Outputs::all, &tap));
        expect_same(sequences[i], expected);
        for (const int boundary : boundaries) {
            EXPECT_TRUE(rows_close(resumed.hidden(boundary, i), tap.hidden(boundary),
                                   static_cast<size_t>(model_.hparams().n_embd), 1e-4))
                << "boundary " << boundary;
        }
    }
}

// Logits of the last rows only are those that all rows' logits have there.
TEST_P(BatchTest, OutputsFromARowOn) {
    const size_t n_vocab = static_cast<size_t>(model_.hparams().n_vocab);
    for (const int chunk_rows : {512, 16}) {
        Engine engine(model_, options(2, chunk_rows));
        for (const Plan &plan :
             {dense_plan(n_layers_), select_plan(n_layers_, {1, n_layers_ - 1}, 0.5)}) {
            Sequence whole = engine.new_sequence(plan);
            const auto tokens = random_tokens(40, 61);
            const Logits all = run(engine, whole, tokens);
            whole.clear();
            Sequence other = engine.new_sequence(plan);
            std::vector<Chunk> batch = {chunk_of(whole, tokens), chunk_of(other, tokens)};
            batch[0].first_output_row = 29;
            batch[1].first_output_row = 40;
            const std::vector<Logits> logits = run_batch(engine, batch);
            ASSERT_EQ(logits[0].size(), 11 * n_vocab);
            EXPECT_TRUE(nmse_below(k_nmse_f32, logits[0], std::span(all).subspan(29 * n_vocab)));
            EXPECT_TRUE(logits[1].empty());
            EXPECT_EQ(other.n_past(), 40);
        }
    }
}

// A chunk without rows is a sequence that stays as it is.
TEST_P(BatchTest, EmptyChunksAreIgnored) {
    Engine engine(model_, options(3));
    const Plan plan = select_plan(n_layers_, {1}, 0.5);
    Sequence fresh = engine.new_sequence(plan);
    Sequence old = engine.new_sequence(plan);
    Sequence busy = engine.new_sequence(plan);
    const auto tokens = random_tokens(20, 41);
    run(engine, old, tokens);
    const LayerRecord before = old.record(1);
    for (const int n : {20, 1}) {
        const std::vector<Chunk> batch = {
            chunk_of(fresh, {}), chunk_of(busy, std::span(tokens).first(n)), chunk_of(old, {})};
        const std::vector<Logits> logits = run_batch(engine, batch);
        EXPECT_TRUE(logits[0].empty());
        EXPECT_FALSE(logits[1].empty());
        EXPECT_TRUE(logits[2].empty());
    }
    EXPECT_EQ(fresh.n_past(), 0);
    EXPECT_TRUE(fresh.record(1).scores.empty());
    EXPECT_EQ(old.record(1).scores, before.scores);
    EXPECT_EQ(busy.n_past(), 21);
    const std::vector<Chunk> nothing = {chunk_of(fresh, {})};
    run_batch(engine, nothing);
    EXPECT_EQ(fresh.n_past(), 0);
    engine.forward({});
}

INSTANTIATE_TEST_SUITE_P(Tiny, BatchTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

}  // namespace
}  // namespace orthorank::test
