// What surrounds the benchmark's clock: which tokens a sequence gets, ratios and bounds.
#include "timing/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"
#include "timing/bounds.h"

namespace orthorank::test {
namespace {

std::vector<int32_t> numbered(int n) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

std::vector<int32_t> first_tokens(const BenchTokens &tokens) {
    std::vector<int32_t> first;
    for (const std::span<const int32_t> &of_sequence : tokens) {
        first.push_back(of_sequence.front());
    }
    return first;
}

TEST(BenchTokens, SequencesAreAsFarApartAsTheTextAllows) {
    const std::vector<int32_t> text = numbered(100);
    const BenchShape prefill{Phase::prefill, 20, 0, 4};
    EXPECT_EQ(first_tokens(tokens_of_sequences(text, prefill)),
              (std::vector<int32_t>{0, 20, 40, 60}));
    EXPECT_EQ(first_tokens(tokens_of_sequences(std::span(text).first(35), prefill)),
              (std::vector<int32_t>{0, 5, 10, 15}));
    const BenchShape decode{Phase::decode, 20, 30, 1};
    EXPECT_EQ(tokens_of_sequences(text, decode).front().size(), 50u);
    expect_error(ErrorKind::limit, "19 tokens, 20 are needed",
                 [&] { tokens_of_sequences(std::span(text).first(19), prefill); });
}

TEST(SpeedRatio, IsTakenRepetitionByRepetition) {
    BenchResult dense;
    BenchResult plan;
    dense.seconds = {2, 4, 9};
    plan.seconds = {1, 4, 3};
    EXPECT_EQ(speed_ratio(dense, plan).median, 2.0);
    EXPECT_EQ(speed_ratio(dense, plan).low, 1.5);
    EXPECT_EQ(speed_ratio(dense, plan).high, 2.5);
}

TEST(TimeBound, WeighsEachOperationsRestByItsTime) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const ModelShape shape = model_shape(model);
    const BenchShape prefill{Phase::prefill, 100, 0, 1};
    const Plan plan = select_plan(shape.n_layers(), {1, 2}, 0.3);
    const OperationFlops dense =
        prefill_operations(shape, dense_plan(shape.n_layers()), 100, HeadRows::last_read);
    const OperationFlops left = prefill_operations(shape, plan, 100, HeadRows::last_read);
    OperationTimes times;
    const auto bound = [&](const Plan &of) { return time_bound(model, of, prefill, {}, times); };
    times[Operation::ffn] = 3;
    EXPECT_DOUBLE_EQ(bound(plan), dense.ffn / left.ffn);
    times[Operation::other] = 1;
    EXPECT_DOUBLE_EQ(bound(plan), 4 / (3 * left.ffn / dense.ffn + 1));
    times[Operation::norm] = 2;  // of all rows, for K and V
    EXPECT_DOUBLE_EQ(bound(plan), 6 / (3 * left.ffn / dense.ffn + 3));
    EXPECT_DOUBLE_EQ(bound(dense_plan(shape.n_layers())), 1.0);

    // In proportion to the arithmetic it is the cost model's bound, but for the scores.
    times = {};
    times[Operation::kv] = dense.kv;
    times[Operation::q_o] = dense.q_o;
    times[Operation::attention] = dense.attention;
    times[Operation::ffn] = dense.ffn;
    times[Operation::head] = dense.head;
    EXPECT_DOUBLE_EQ(bound(plan), dense.total() / (left.total() - left.score));
}

TEST(TimeBound, OfADecodeFollowsTheBytes) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const int n_layers = model.hparams().n_layers;
    OperationTimes times;
    times[Operation::ffn] = 1;
    const Plan plan = select_plan(n_layers, {1, 2, 3}, 0.3);
    // Half of the rows were computed: of one sequence half of the weights are read in these layers,
    // of two three quarters.
    for (const auto &[n_sequences, part] : {std::pair(1, 0.5), std::pair(2, 0.75)}) {
        const BenchShape decode{Phase::decode, 4, 8, n_sequences};
        DecodeFacts facts;
        facts.layer_fractions.assign(static_cast<size_t>(n_layers), 0.5);
        EXPECT_DOUBLE_EQ(time_bound(model, plan, decode, facts, times),
                         n_layers / (n_layers - 3 + 3 * part));
    }
}

TEST(TimeBound, OneRatioStoodForAllLayersOfADecode) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const int n_layers = model.hparams().n_layers;
    OperationTimes times;
    times[Operation::ffn] = 1;
    const Plan plan = select_plan(n_layers, {1, 2}, 0.5);
    DecodeFacts facts;
    facts.layer_fractions.assign(static_cast<size_t>(n_layers), 1.0);
    facts.layer_fractions[1] = 0.25;
    facts.layer_fractions[2] = 0.75;
    // Of two sequences any is computed with 1 - 0.75^2 and 1 - 0.25^2: not twice 1 - 0.5^2.
    EXPECT_DOUBLE_EQ(time_bound(model, plan, {Phase::decode, 4, 8, 2}, facts, times),
                     n_layers / (n_layers - 2 + 0.4375 + 0.9375));
}

TEST(SpeedUpBound, CorrectionsInF32WereCountedAsF16) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const Hparams &hparams = model.hparams();
    const BenchShape decode{Phase::decode, 4, 8, 1};
    DecodeFacts facts;
    facts.layer_fractions.assign(static_cast<size_t>(hparams.n_layers), 0.5);
    const auto bound = [&](int rank, double element) {
        facts.correction_element = element;
        const Plan plan = select_plan(hparams.n_layers, {1, 2}, 0.5);
        return speed_up_bound(model, completed(plan, hparams.n_embd, rank), decode, facts);
    };
    EXPECT_LT(bound(8, 4), bound(8, 2));
    EXPECT_DOUBLE_EQ(bound(8, 4), bound(16, 2));
}

TEST(EngineArm, FactsAreThoseOfTheLastRunByLayer) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const int n_layers = model.hparams().n_layers;
    Plan plan = select_plan(n_layers, {1, 2}, 0.5);
    plan.layers[2].ratio = 0.25;
    plan.layers[3] = skip_plan(n_layers, {3}).layers[3];
    const auto arm = make_engine_arm(model, test_options(), plan);
    const auto text = random_tokens(80, 4, model.hparams().n_vocab);
    const BenchShape prefill{Phase::prefill, 40, 0, 2};
    const BenchTokens tokens = tokens_of_sequences(text, prefill);
    arm->prepare(prefill, tokens);
    arm->run(prefill, tokens);
    RunFacts facts = arm->facts();
    EXPECT_EQ(facts.layer_fractions[0], 1.0);
    EXPECT_EQ(facts.layer_fractions[1], 0.5);
    EXPECT_EQ(facts.layer_fractions[2], 0.25);
    EXPECT_EQ(facts.layer_fractions[3], 0.0);
    EXPECT_EQ(facts.fraction_of_rows, 0.375);

    // A decode counts what was decoded, not the prompt.
    const BenchShape decode{Phase::decode, 10, 30, 1};
    const BenchTokens more = tokens_of_sequences(text, decode);
    for (int repetition = 0; repetition < 2; ++repetition) {
        arm->prepare(decode, more);
        arm->run(decode, more);
        facts = arm->facts();
        const double n = 10 * facts.layer_fractions[1];
        EXPECT_DOUBLE_EQ(n, std::round(n));
        EXPECT_DOUBLE_EQ(facts.fraction_of_rows,
                         (facts.layer_fractions[1] + facts.layer_fractions[2]) / 2);
    }
}

// One engine for all shapes would show every shape the memory of the largest.
TEST(EngineArm, MemoryIsThatOfTheShape) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const auto arm = make_engine_arm(model, test_options(), dense_plan(model.hparams().n_layers));
    const auto text = random_tokens(1200, 4, model.hparams().n_vocab);
    const auto kv_bytes = [&](int n, int n_sequences) {
        const BenchShape shape{Phase::prefill, n, 0, n_sequences};
        const BenchTokens tokens = tokens_of_sequences(text, shape);
        arm->prepare(shape, tokens);
        arm->run(shape, tokens);
        return arm->facts().memory->kv_bytes;
    };
    const int64_t of_one = kv_bytes(200, 1);
    EXPECT_EQ(of_one, kv_cache_bytes(model.hparams(), KvType::f32, 200, 1));
    EXPECT_EQ(kv_bytes(400, 1), 2 * of_one);
    EXPECT_EQ(kv_bytes(200, 3), 3 * of_one);
    EXPECT_EQ(kv_bytes(200, 1), of_one);
}

TEST(LibllamaArm, RunsEveryKvCacheType) {
    const TempDir dir;
    write_tiny_gguf(tiny_qwen3(), dir.file("tiny.gguf"));  // heads of 32, as q8_0 wants them
    const auto loaded = load_on_cpu(dir.file("tiny.gguf"));
    const Model &model = *loaded;
    const auto text = random_tokens(80, 4);
    const BenchShape shape{Phase::prefill, 40, 0, 2};
    const BenchTokens tokens = tokens_of_sequences(text, shape);
    for (const KvType type : {KvType::f16, KvType::f32, KvType::q8_0}) {
        EngineOptions options = test_options();
        options.n_ctx = 40;
        options.n_sequences = 2;
        options.kv_type = type;
        const auto arm = make_libllama_arm(model, options);
        arm->prepare(shape, tokens);
        arm->run(shape, tokens);
        EXPECT_FALSE(arm->facts().memory.has_value());
    }
}

// A benchmark compares times of the same result: the arm's logits are those of the dense engine,
// of a prompt and after a decode, for each sequence.
TEST(LibllamaArm, ComputesTheLogitsOfTheDenseEngine) {
    const TempDir dir;
    write_tiny_gguf(tiny_llama(), dir.file("tiny.gguf"));
    const auto model = load_on_cpu(dir.file("tiny.gguf"));
    EngineOptions options = test_options();
    options.n_ctx = 48;
    options.n_sequences = 2;
    options.kv_type = KvType::f16;
    const auto arm = make_libllama_arm(*model, options);
    const auto text = random_tokens(96, 4);
    for (const BenchShape &shape :
         {BenchShape{Phase::prefill, 40, 0, 2}, BenchShape{Phase::decode, 3, 40, 2}}) {
        const BenchTokens tokens = tokens_of_sequences(text, shape);
        arm->prepare(shape, tokens);
        arm->run(shape, tokens);
        for (size_t i = 0; i < tokens.size(); ++i) {
            Engine engine(*model, options);
            Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
            const auto depth = static_cast<size_t>(shape.depth);
            Logits logits;
            if (depth > 0) {
                run(engine, sequence, tokens[i].first(depth));
                logits = run_steps(engine, sequence, tokens[i].subspan(depth));
            } else {
                logits = run(engine, sequence, tokens[i]);
            }
            const auto n_vocab = static_cast<size_t>(model->hparams().n_vocab);
            const std::span<const float> last = std::span(logits).last(n_vocab);
            EXPECT_TRUE(nmse_below(k_nmse_f16_cache, arm->last_logits(i), last)) << i;
            EXPECT_TRUE(same_argmax(arm->last_logits(i), last)) << i;
        }
    }
}

}  // namespace
}  // namespace orthorank::test
