// Different ways through the network that must mean the same: all rows or a layer without
// selection, none or a layer removed, one row at a time, chunks of any size, a pass interrupted at
// a layer.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/model_runs.h"

namespace orthorank::test {
namespace {

class EquivalenceTest : public testing::TestWithParam<std::string> {
 protected:
    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;
    const size_t n_embd_ = static_cast<size_t>(model_.hparams().n_embd);

    Logits logits_with(const Plan &plan, const std::vector<int32_t> &tokens,
                       const EngineOptions &options = test_options()) const {
        Engine engine(model_, options);
        Sequence sequence = engine.new_sequence(plan);
        return run(engine, sequence, tokens);
    }
    std::vector<int> all_layers() const {
        std::vector<int> layers;
        for (int il = 0; il < n_layers_; ++il) {
            layers.push_back(il);
        }
        return layers;
    }
};

TEST_P(EquivalenceTest, RatioOneIsDense) {
    const auto tokens = random_tokens(50, 1);
    const Logits dense = logits_with(dense_plan(n_layers_), tokens);
    for (const char *policy : {"orthogonal", "orthogonal-no-kv", "random", "norm-up"}) {
        SCOPED_TRACE(policy);
        EXPECT_TRUE(same_bits(logits_with(select_plan(n_layers_, {1}, 1, policy), tokens), dense));
        EXPECT_TRUE(
            same_bits(logits_with(select_plan(n_layers_, all_layers(), 1, policy), tokens), dense));
    }
}

TEST_P(EquivalenceTest, RatioZeroIsTheLayerRemoved) {
    const auto tokens = random_tokens(50, 2);
    for (const std::vector<int> &layers : {std::vector<int>{1}, {0, 2}, {n_layers_ - 1}}) {
        EXPECT_TRUE(same_bits(logits_with(select_plan(n_layers_, layers, 0), tokens),
                              logits_with(skip_plan(n_layers_, layers), tokens)));
    }
    EXPECT_TRUE(same_bits(logits_with(select_plan(n_layers_, all_layers(), 0), tokens),
                          logits_with(skip_plan(n_layers_, all_layers()), tokens)));
}

TEST_P(EquivalenceTest, PromptIsOneRowStepsWhenDense) {
    const auto tokens = random_tokens(40, 3);
    for (const KvType type : {KvType::f32, KvType::f16}) {
        EngineOptions options = test_options();
        options.kv_type = type;
        Engine engine(model_, options);
        Plan plan = dense_plan(n_layers_);
        plan.layers[1].action = Action::skip;
        for (const Plan &p : {dense_plan(n_layers_), plan}) {
            Sequence sequence = engine.new_sequence(p);
            const Logits steps = run_steps(engine, sequence, tokens);
            EXPECT_TRUE(nmse_below(k_nmse_f32, steps, logits_with(p, tokens, options)));
        }
    }
}

// A prompt in several calls is the prompt in one, when dense.
TEST_P(EquivalenceTest, SeveralCallsAreOneWhenDense) {
    const auto tokens = random_tokens(300, 4);
    const Plan plan = dense_plan(n_layers_);
    Engine engine(model_, test_options());
    Sequence sequence = engine.new_sequence(plan);
    const std::span<const int32_t> all(tokens);
    Logits logits;
    for (const auto &part : {all.first(7), all.subspan(7, 1), all.subspan(8, 250), all.last(42)}) {
        const Logits more = run(engine, sequence, part);
        logits.insert(logits.end(), more.begin(), more.end());
    }
    EXPECT_EQ(sequence.n_past(), 300);
    EXPECT_TRUE(nmse_below(k_nmse_f32, logits, logits_with(plan, tokens)));
}

TEST_P(EquivalenceTest, AnyChunkSizeIsNoChunks) {
    const auto tokens = random_tokens(300, 5);
    Plan plan = select_plan(n_layers_, {1, n_layers_ - 1}, 0.4);
    std::vector<Plan> plans = {dense_plan(n_layers_), plan};
    for (const char *policy :
         {"norm-up", "cosine", "orthogonal-no-kv", "attention-up", "query", "attention-output"}) {
        plans.push_back(select_plan(n_layers_, {1, 2}, 0.333, policy));
    }
    for (const Plan &p : plans) {
        Engine whole(model_, test_options());
        Sequence expected = whole.new_sequence(p, Apply::prefill);
        const Logits expected_logits = run(whole, expected, tokens);
        for (const auto &[chunk_rows, body_rows] :
             {std::pair{37, 1024}, {64, 10}, {299, 10}, {512, 10}, {1, 3}}) {
            SCOPED_TRACE(testing::Message() << chunk_rows << " " << body_rows);
            EngineOptions options = test_options();
            options.chunk_rows = chunk_rows;
            options.body_rows = body_rows;
            Engine engine(model_, options);
            Sequence sequence = engine.new_sequence(p, Apply::prefill);
            EXPECT_TRUE(nmse_below(k_nmse_f32, run(engine, sequence, tokens), expected_logits));
            for (int il = 0; il < n_layers_; ++il) {
                EXPECT_TRUE(same_record(sequence.record(il), expected.record(il), 1e-4));
            }
        }
    }
}

// What enters layer l is enough to go on from there, under any plan for the rest.
TEST_P(EquivalenceTest, ResumingIsTheStraightRun) {
    Plan plan = select_plan(n_layers_, {n_layers_ - 1}, 0.5);
    plan.layers[0].action = Action::skip;
    for (int layer = 0; layer <= n_layers_; ++layer) {
        const StoppedRun runs = stop_and_go_on(model_, test_options(), plan, layer);
        EXPECT_TRUE(same_bits(runs.resumed, runs.straight)) << layer;
    }
}

// A context stopped at layer l, a continuation stopped there behind it, and then both resumed
// together: what the evaluation of several answers to one question does.
TEST_P(EquivalenceTest, SharedPrefixIsTheStraightRun) {
    const auto tokens = random_tokens(70, 7);
    const std::span<const int32_t> all(tokens);
    const int layer = n_layers_ - 1;  // the first that selects
    const Plan plan = select_plan(n_layers_, {layer}, 0.333);
    const Logits expected = logits_with(plan, tokens);

    Engine engine(model_, test_options());
    Sequence sequence = engine.new_sequence(plan);
    HiddenTap tap({layer});
    ForwardOptions options;
    options.end_layer = layer;
    options.tap = &tap;
    std::vector<float> hidden;
    for (const auto &part : {all.first(50), all.last(20)}) {
        const Chunk chunk = chunk_of(sequence, part, Phase::prefill, Outputs::none);
        EXPECT_TRUE(run_batch(engine, std::span(&chunk, 1), options).front().empty());
        hidden.insert(hidden.end(), tap.hidden(layer).begin(), tap.hidden(layer).end());
    }
    EXPECT_EQ(sequence.n_past(), 70);
    EXPECT_TRUE(sequence.record(layer).scores.empty());

    sequence.truncate(0);
    Chunk chunk = chunk_of(sequence, {});
    chunk.hidden = hidden;
    ForwardOptions rest;
    rest.first_layer = layer;
    const auto logits = run_batch(engine, std::span(&chunk, 1), rest);
    EXPECT_TRUE(nmse_below(k_nmse_f32, logits.front(), expected));
    EXPECT_EQ(sequence.n_past(), 70);

    // A second continuation of the same context: only its cells are written anew.
    sequence.truncate(0);
    const Chunk context = chunk_of(sequence, all.first(50), Phase::prefill, Outputs::none);
    run_batch(engine, std::span(&context, 1), options);
    sequence.truncate(40);
    EXPECT_EQ(sequence.n_past(), 40);
    const Chunk other = chunk_of(sequence, all.subspan(40), Phase::prefill, Outputs::none);
    run_batch(engine, std::span(&other, 1), options);
    EXPECT_TRUE(rows_close(tap.hidden(layer), std::span(hidden).subspan(40 * n_embd_), n_embd_));
}

TEST_P(EquivalenceTest, OutputsAreRowsOfAll) {
    const auto tokens = random_tokens(90, 8);
    const auto n_vocab = static_cast<size_t>(model_.hparams().n_vocab);
    std::vector<Plan> plans = {dense_plan(n_layers_), select_plan(n_layers_, {1}, 0.4),
                               select_plan(n_layers_, {n_layers_ - 1}, 0.4),
                               select_plan(n_layers_, {n_layers_ - 1}, 0),
                               skip_plan(n_layers_, {n_layers_ - 1})};
    for (const Plan &plan : plans) {
        for (const int chunk_rows : {512, 40}) {
            EngineOptions options = test_options();
            options.chunk_rows = chunk_rows;
            Engine engine(model_, options);
            Sequence sequence = engine.new_sequence(plan);
            const Logits all = run(engine, sequence, tokens);
            ASSERT_EQ(all.size(), tokens.size() * n_vocab);
            const Logits next_after_all = run_steps(engine, sequence, std::span(tokens).first(3));

            for (const Outputs outputs : {Outputs::last, Outputs::none}) {
                sequence.clear();
                const Logits some = run(engine, sequence, tokens, outputs);
                EXPECT_EQ(some.size(), outputs == Outputs::last ? n_vocab : 0u);
                if (outputs == Outputs::last) {
                    EXPECT_TRUE(nmse_below(k_nmse_f32, some, std::span(all).last(n_vocab)));
                }
                EXPECT_TRUE(same_bits(run_steps(engine, sequence, std::span(tokens).first(3)),
                                      next_after_all))
                    << "the cache must not depend on the outputs";
            }
        }
    }
}

TEST_P(EquivalenceTest, TapsSeeAndChangeNothing) {
    const auto tokens = random_tokens(90, 9);
    Plan plan = select_plan(n_layers_, {0, n_layers_ - 2}, 0.4);
    plan.layers[static_cast<size_t>(n_layers_ - 1)].action = Action::skip;
    std::vector<int> boundaries = all_layers();
    boundaries.push_back(n_layers_);
    for (const int chunk_rows : {512, 40}) {
        EngineOptions options = test_options();
        options.chunk_rows = chunk_rows;
        Engine engine(model_, options);
        Sequence sequence = engine.new_sequence(plan);
        const Logits expected = run(engine, sequence, tokens, Outputs::last);
        sequence.clear();
        HiddenTap all(boundaries);
        EXPECT_TRUE(
            nmse_below(k_nmse_f32, run(engine, sequence, tokens, Outputs::last, &all), expected));
        for (const int boundary : boundaries) {
            SCOPED_TRACE(boundary);
            HiddenTap one({boundary});
            sequence.clear();
            run(engine, sequence, tokens, Outputs::last, &one);
            ASSERT_EQ(one.hidden(boundary).size(), tokens.size() * n_embd_);
            EXPECT_TRUE(rows_close(one.hidden(boundary), all.hidden(boundary), n_embd_, 1e-5))
                << "also behind the last layer, where other rows are nobody's";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Tiny, EquivalenceTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

// Every KV type gives nearly the same logits, for a prompt and for steps.
TEST(KvTypeTest, AllAgree) {
    const Model &model = fixture_model("tiny-qwen3");  // heads of 32 fit Q8_0
    const auto tokens = random_tokens(100, 10);
    const Plan plan = dense_plan(model.hparams().n_layers);
    Logits expected;
    for (const KvType type : {KvType::f32, KvType::f16, KvType::q8_0}) {
        EngineOptions options = test_options();
        options.kv_type = type;
        Engine engine(model, options);
        Sequence sequence = engine.new_sequence(plan);
        Logits logits = run(engine, sequence, std::span(tokens).first(80), Outputs::last);
        const Logits steps = run_steps(engine, sequence, std::span(tokens).last(20));
        logits.insert(logits.end(), steps.begin(), steps.end());
        if (type == KvType::f32) {
            expected = logits;
        }
        EXPECT_LT(nmse(logits, expected), type == KvType::q8_0 ? 1e-3 : 1e-5);
    }
}

std::vector<Logits> prompts_and_steps(const Model &model, int n_threads) {
    const auto tokens = random_tokens(300, 11);
    const Plan plan = select_plan(model.hparams().n_layers, {1, 2}, 0.333);
    EngineOptions options = test_options();
    options.n_threads = n_threads;
    options.chunk_rows = 128;
    options.n_sequences = 2;
    Engine engine(model, options);
    Sequence first = engine.new_sequence(plan);
    Sequence second = engine.new_sequence(plan);
    std::vector<Logits> results;
    for (Sequence *sequence : {&first, &first, &second}) {
        sequence->clear();
        results.push_back(run(engine, *sequence, tokens, Outputs::last));
        const Logits steps = run_steps(engine, *sequence, std::span(tokens).first(9));
        results.back().insert(results.back().end(), steps.begin(), steps.end());
    }
    return results;
}

// In another engine, in a sequence used before, in another slot.
TEST(RepeatabilityTest, SameShapesGiveTheSameBits) {
    for (const std::string &name : main_fixture_models()) {
        for (const int n_threads : {1, 2}) {
            std::vector<Logits> results = prompts_and_steps(fixture_model(name), n_threads);
            for (const Logits &more : prompts_and_steps(fixture_model(name), n_threads)) {
                results.push_back(more);
            }
            for (const Logits &logits : results) {
                EXPECT_TRUE(same_bits(logits, results.front())) << name;
            }
        }
    }
}

}  // namespace
}  // namespace orthorank::test
