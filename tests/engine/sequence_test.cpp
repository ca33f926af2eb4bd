// Sequences as timelines: cleared, cut back, forked, refused; and what an engine says when it is
// asked for something impossible.
#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

class SequenceTest : public testing::Test {
 protected:
    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    const Plan plan_ = select_plan(n_layers_, {2, 4}, 0.333);
    const std::vector<int32_t> tokens_ = random_tokens(100, 61);
    const std::span<const int32_t> all_ = std::span<const int32_t>(tokens_);

    Engine make_engine(int n_sequences = 1, int n_ctx = 512) const {
        EngineOptions options = test_options();
        options.n_sequences = n_sequences;
        options.n_ctx = n_ctx;
        return Engine(model_, options);
    }
};

TEST_F(SequenceTest, TruncatedIsAsIfTheRestHadNeverBeen) {
    Engine engine = make_engine(2);
    for (const Plan &plan : {dense_plan(n_layers_), plan_}) {
        Sequence straight = engine.new_sequence(plan);
        Sequence detour = engine.new_sequence(plan);
        for (Sequence *sequence : {&straight, &detour}) {
            run(engine, *sequence, all_.first(40));
            run_steps(engine, *sequence, all_.subspan(40, 10));
        }
        run_steps(engine, detour, all_.subspan(70, 5));
        run(engine, detour, all_.subspan(80, 20));
        detour.truncate(50);
        EXPECT_EQ(detour.n_past(), 50);
        EXPECT_TRUE(same_bits(run_steps(engine, detour, all_.subspan(50, 12)),
                              run_steps(engine, straight, all_.subspan(50, 12))));
        EXPECT_EQ(detour.record(2).scores, straight.record(2).scores);
        EXPECT_EQ(detour.record(2).chosen, straight.record(2).chosen);
    }
}

TEST_F(SequenceTest, TruncatedInsideThePromptKeepsItsDecisions) {
    Engine engine = make_engine();
    Sequence sequence = engine.new_sequence(plan_);
    run(engine, sequence, all_.first(60));
    const std::vector<uint8_t> chosen = sequence.record(2).chosen;
    sequence.truncate(30);
    run_steps(engine, sequence, all_.last(5));
    ASSERT_EQ(sequence.record(2).chosen.size(), 35u);
    EXPECT_TRUE(std::equal(chosen.begin(), chosen.begin() + 30, sequence.record(2).chosen.begin()));
    EXPECT_THROW(sequence.truncate(36), InternalError);
    EXPECT_THROW(sequence.truncate(-1), InternalError);
}

TEST_F(SequenceTest, ClearedIsNew) {
    Engine engine = make_engine();
    Sequence sequence = engine.new_sequence(plan_);
    const Logits expected = run(engine, sequence, all_.first(50));
    run_steps(engine, sequence, all_.last(10));
    sequence.clear();
    EXPECT_EQ(sequence.n_past(), 0);
    EXPECT_EQ(sequence.n_rows_offered(), 0);
    EXPECT_EQ(sequence.n_rows_computed(), 0);
    run(engine, sequence, all_.last(70));  // another sink
    sequence.clear();
    EXPECT_TRUE(same_bits(run(engine, sequence, all_.first(50)), expected));
}

TEST_F(SequenceTest, ForksGoTheirOwnWays) {
    for (const KvType type : {KvType::f16, KvType::f32}) {
        EngineOptions options = test_options();
        options.kv_type = type;
        options.n_sequences = 3;
        Engine engine(model_, options);
        Sequence trunk = engine.new_sequence(plan_);
        run(engine, trunk, all_.first(40));
        run_steps(engine, trunk, all_.subspan(40, 5));
        std::optional<Sequence> fork = engine.fork(trunk);
        EXPECT_EQ(fork->n_past(), 45);
        EXPECT_EQ(fork->n_rows_offered(), trunk.n_rows_offered());
        EXPECT_EQ(fork->n_rows_computed(), trunk.n_rows_computed());
        EXPECT_EQ(fork->record(4).scores, trunk.record(4).scores);
        Sequence empty = engine.new_sequence(plan_);

        run_steps(engine, *fork, all_.last(10));  // must not reach the trunk
        Sequence reference = std::move(empty);
        run(engine, reference, all_.first(40));
        run_steps(engine, reference, all_.subspan(40, 5));
        const Logits expected = run_steps(engine, reference, all_.subspan(45, 8));
        EXPECT_TRUE(same_bits(run_steps(engine, trunk, all_.subspan(45, 8)), expected));
        fork->truncate(45);
        EXPECT_TRUE(same_bits(run_steps(engine, *fork, all_.subspan(45, 8)), expected));
        EXPECT_EQ(fork->record(4).chosen, trunk.record(4).chosen);
    }
}

TEST_F(SequenceTest, ForkOfAnEmptySequence) {
    Engine engine = make_engine(2);
    const Sequence empty = engine.new_sequence(plan_);
    Sequence fork = engine.fork(empty);
    EXPECT_EQ(fork.n_past(), 0);
    EXPECT_FALSE(run(engine, fork, all_.first(9)).empty());
}

TEST_F(SequenceTest, SlotsAreGivenBack) {
    Engine engine = make_engine(2);
    Sequence first = engine.new_sequence(plan_);
    {
        const Sequence second = engine.new_sequence(plan_);
        expect_error(ErrorKind::limit, "all 2 sequences of this engine are in use",
                     [&] { engine.new_sequence(plan_); });
        expect_error(ErrorKind::limit, "all 2 sequences", [&] { engine.fork(first); });
        EXPECT_NE(first.slot(), second.slot());
    }
    const Sequence moved = std::move(first);
    const Sequence third = engine.new_sequence(plan_);
    EXPECT_NE(moved.slot(), third.slot());
    EXPECT_THROW(engine.new_sequence(plan_), Error);
}

TEST_F(SequenceTest, TooManyTokensAreRefused) {
    Engine engine = make_engine(1, 60);  // not a multiple of the cache's padding
    EXPECT_EQ(engine.n_ctx(), 60);
    Sequence sequence = engine.new_sequence(plan_);
    expect_error(ErrorKind::limit, "61 tokens do not fit into the context of 60",
                 [&] { run(engine, sequence, all_.first(61)); });
    EXPECT_FALSE(run(engine, sequence, all_.first(60)).empty());
    expect_error(ErrorKind::limit, "61 tokens do not fit",
                 [&] { run_steps(engine, sequence, all_.first(1)); });
    EXPECT_EQ(sequence.n_past(), 60) << "a pass that is refused touches nothing";
}

TEST_F(SequenceTest, UnknownTokensAreRefused) {
    Engine engine = make_engine(2);
    Sequence sequence = engine.new_sequence(plan_);
    Sequence other = engine.new_sequence(dense_plan(n_layers_));
    const Logits expected = run(engine, sequence, all_.first(30));
    run(engine, other, all_.first(10));
    for (const int32_t bad : {-1, k_tiny_n_vocab, INT32_MAX, INT32_MIN}) {
        const std::vector<int32_t> tokens = {1, bad};
        const std::vector<Chunk> batch = {chunk_of(other, all_.first(2)),
                                          chunk_of(sequence, tokens)};
        expect_error(ErrorKind::request, "is outside the vocabulary of 288",
                     [&] { run_batch(engine, batch); });
        EXPECT_EQ(sequence.n_past(), 30);
        EXPECT_EQ(other.n_past(), 10);
        EXPECT_EQ(sequence.record(2).scores.size(), 30u);
        sequence.clear();
        EXPECT_TRUE(same_bits(run(engine, sequence, all_.first(30)), expected));
    }
}

TEST_F(SequenceTest, APassThatThrowsHalfwayLeavesItsSequencesAsTheyWere) {
    struct Thrower : Tap {
        int at = 0;
        bool wants_hidden(int boundary) const override { return boundary == at; }
        void on_hidden(int, size_t, std::span<const float>) override {
            throw std::runtime_error("stop");
        }
    };
    Engine engine = make_engine();
    Sequence sequence = engine.new_sequence(plan_);
    run(engine, sequence, all_.first(70));
    const Logits expected = run(engine, sequence, all_.last(30));
    sequence.truncate(70);
    const LayerRecord record = sequence.record(2);
    const int64_t n_offered = sequence.n_rows_offered();
    Thrower thrower;
    for (const int boundary : {0, 3, 5, n_layers_}) {
        thrower.at = boundary;
        EXPECT_THROW(run(engine, sequence, all_.first(20), Outputs::last, &thrower),
                     std::runtime_error);
        EXPECT_EQ(sequence.n_past(), 70);
        EXPECT_EQ(sequence.record(2).scores, record.scores);
        EXPECT_EQ(sequence.record(2).chosen, record.chosen);
        EXPECT_TRUE(same_bits(run(engine, sequence, all_.last(30)), expected));
        sequence.truncate(70);
    }
    EXPECT_EQ(sequence.n_rows_offered(), n_offered + 4 * 60) << "of those that did not throw";
    const Chunk chunk = chunk_of(sequence, all_.first(5), Phase::decode);
    ForwardOptions options;
    options.on_logits = [](const LogitsBlock &) { throw std::runtime_error("stop"); };
    EXPECT_THROW(engine.forward(std::span(&chunk, 1), options), std::runtime_error);
    EXPECT_EQ(sequence.n_past(), 70);
    EXPECT_TRUE(same_bits(run(engine, sequence, all_.last(30)), expected));
}

TEST_F(SequenceTest, PlansThatDoNotFitAreRefused) {
    Engine engine = make_engine();
    expect_error(ErrorKind::format, "has 7 layers, the model has 6: made for another model?",
                 [&] { engine.new_sequence(dense_plan(7)); });
    for (const std::string policy : {"attention-up", "query"}) {
        const Plan attention = select_plan(n_layers_, {2}, 0.5, policy);
        for (const Apply apply : {Apply::both, Apply::decode}) {
            expect_error(ErrorKind::usage, policy + " has no score for decoded tokens",
                         [&] { engine.new_sequence(attention, apply); });
        }
        Sequence sequence = engine.new_sequence(attention, Apply::prefill);  // the slot is free
        run(engine, sequence, all_.first(30));
        run_steps(engine, sequence, all_.first(5));
        EXPECT_EQ(sequence.n_past(), 35);
        expect_error(ErrorKind::usage, policy + " needs the whole prompt in one pass",
                     [&] { run(engine, sequence, all_.first(5)); });
        EXPECT_EQ(sequence.n_past(), 35);
        sequence.clear();
        EXPECT_FALSE(run(engine, sequence, all_.first(30)).empty());
    }
}

TEST_F(SequenceTest, OptionsThatDoNotFitAreRefused) {
    const auto with = [&](auto edit) {
        EngineOptions options = test_options();
        edit(options);
        return [this, options] { Engine engine(model_, options); };
    };
    const int n_ctx_train = model_.hparams().n_ctx_train;
    expect_error(ErrorKind::limit, "the model has " + std::to_string(n_ctx_train),
                 with([&](EngineOptions &o) { o.n_ctx = n_ctx_train + 1; }));
    for (int EngineOptions::*member :
         {&EngineOptions::n_sequences, &EngineOptions::chunk_rows, &EngineOptions::body_rows}) {
        expect_error(ErrorKind::usage, "must be positive",
                     with([&](EngineOptions &o) { o.*member = 0; }));
    }
    expect_error(ErrorKind::usage, "must be positive",
                 with([](EngineOptions &o) { o.n_ctx = -1; }));
    expect_error(ErrorKind::usage, "q8_0 KV cache needs head sizes divisible by 32",
                 with([](EngineOptions &o) { o.kv_type = KvType::q8_0; }));
    expect_error(ErrorKind::usage, "known: prefill, decode, both",
                 [] { apply_from_name("never"); });
    EngineOptions options;
    options.n_threads = 1;
    EXPECT_EQ(Engine(model_, options).n_ctx(), n_ctx_train) << "0: the model's context";
}

TEST_F(SequenceTest, MemoryIsReported) {
    Engine engine = make_engine(2);
    EXPECT_EQ(engine.memory().kv_bytes, kv_cache_bytes(model_.hparams(), KvType::f32, 512, 2));
    Sequence sequence = engine.new_sequence(plan_);
    run(engine, sequence, tokens_);
    EXPECT_GT(engine.memory().hidden_bytes, 0);
    EXPECT_GT(engine.memory().compute_bytes, 0);
}

// Nothing lies between the graphs of a dense plan.
TEST_F(SequenceTest, HiddenStatesWereKeptForDensePlansToo) {
    Engine engine = make_engine(2);
    const int64_t of_sinks = engine.memory().hidden_bytes;
    Sequence dense = engine.new_sequence(dense_plan(n_layers_));
    run(engine, dense, tokens_);
    EXPECT_EQ(engine.memory().hidden_bytes, of_sinks);
    Sequence selecting = engine.new_sequence(plan_);
    run(engine, selecting, tokens_);
    EXPECT_GE(engine.memory().hidden_bytes, of_sinks + 100 * model_.hparams().n_embd * 4);
}

}  // namespace
}  // namespace orthorank::test
