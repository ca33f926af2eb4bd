// Every architecture beyond Llama and Qwen through the whole engine: selection, removed layers,
// corrections and probes, chunks, batches, own kernels, other weights, exports. That dense logits
// are libllama's is oracle_test.cpp's. Windows are shorter than the texts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/engine.h"
#include "graph/taylor.h"
#include "model/attn_norm.h"
#include "model/export_model.h"
#include "session/log_probs.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/libllama_oracle.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

// The mean negative log-likelihood of all tokens but the first.
double mean_loss(const Logits &logits, std::span<const int32_t> tokens) {
    std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
    targets.push_back(-1);
    std::vector<float> log_probs(targets.size());
    target_log_probs(logits.data(), k_tiny_n_vocab, targets, 1, log_probs);
    return -std::accumulate(log_probs.begin(), log_probs.end() - 1, 0.0) /
           static_cast<double>(tokens.size() - 1);
}

class ArchitectureTest : public testing::TestWithParam<TinyModel> {
 protected:
    ArchitectureTest() { write_tiny_gguf(GetParam(), path_); }
    void SetUp() override { model_ = load_on_cpu(path_); }

    int n_layers() const { return model_->hparams().n_layers; }
    Plan dense() const { return dense_plan(n_layers()); }
    // Selecting in a layer with a window, if there are any, and in the last.
    Plan selecting(const std::string &policy, int rank = -1) const {
        return completed(select_plan(n_layers(), {1, n_layers() - 1}, 0.4, policy),
                         model_->hparams().n_embd, rank);
    }
    Logits logits(const Plan &plan, std::span<const int32_t> tokens,
                  const EngineOptions &options = test_options()) const {
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(plan, Apply::prefill);
        return run(engine, sequence, tokens);
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
    std::unique_ptr<Model> model_;
};

TEST_P(ArchitectureTest, RatioOneIsDenseAndZeroIsTheLayerRemoved) {
    const auto tokens = random_tokens(60, 1);
    const Logits expected = logits(dense(), tokens);
    for (const char *policy : {"orthogonal", "orthogonal-no-kv", "random"}) {
        EXPECT_TRUE(same_bits(logits(select_plan(n_layers(), {1, 2}, 1, policy), tokens), expected))
            << policy;
    }
    EXPECT_TRUE(same_bits(logits(select_plan(n_layers(), {1, 2}, 0), tokens),
                          logits(skip_plan(n_layers(), {1, 2}), tokens)));
}

// Algorithm 1 on the host: scores of the rows that attention gets, the smallest are picked, these
// are what the dense layer makes of them (all rows have keys and values), the others stay to the
// bit.
TEST_P(ArchitectureTest, SelectionIsAlgorithmOne) {
    constexpr int k_layer = 1;
    constexpr double k_ratio = 0.4;
    const auto tokens = random_tokens(90, 9);
    const size_t n = tokens.size();
    const auto n_embd = static_cast<size_t>(model_->hparams().n_embd);
    HiddenTap dense_tap({k_layer, k_layer + 1});
    HiddenTap tap({k_layer + 1});
    Engine dense_engine(*model_, test_options());
    Sequence dense_sequence = dense_engine.new_sequence(dense());
    run(dense_engine, dense_sequence, tokens, Outputs::last, &dense_tap);
    Engine engine(*model_, test_options());
    Sequence sequence =
        engine.new_sequence(select_plan(n_layers(), {k_layer}, k_ratio), Apply::prefill);
    run(engine, sequence, tokens, Outputs::last, &tap);

    const std::vector<float> &before = dense_tap.hidden(k_layer);
    const std::vector<float> normed = attn_normed_rows(*model_, k_layer, before);
    LayerRecord expected;
    std::vector<size_t> order;
    for (size_t i = 0; i < n; ++i) {
        double product = 0;
        for (size_t j = 0; j < n_embd; ++j) {
            product += static_cast<double>(normed[j]) * normed[i * n_embd + j];
        }
        expected.scores.push_back(i == 0 ? std::numeric_limits<float>::infinity()
                                         : static_cast<float>(std::fabs(product)));
        order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return expected.scores[a] < expected.scores[b]; });
    expected.chosen.assign(n, 0);
    for (size_t i = 0; i < static_cast<size_t>(k_ratio * static_cast<double>(n)); ++i) {
        expected.chosen[order[i]] = 1;
    }
    const LayerRecord &record = sequence.record(k_layer);
    EXPECT_TRUE(same_record(record, expected));
    for (size_t i = 0; i < n; ++i) {
        const auto row = [&](const std::vector<float> &rows) {
            return std::span(rows).subspan(i * n_embd, n_embd);
        };
        const auto found = row(tap.hidden(k_layer + 1));
        EXPECT_TRUE(record.chosen[i] != 0
                        ? rows_close(found, row(dense_tap.hidden(k_layer + 1)), n_embd)
                        : same_bits(found, row(before)))
            << i;
    }
}

TEST_P(ArchitectureTest, AnyChunkSizeIsNoChunks) {
    const auto tokens = random_tokens(150, 2);
    std::vector<Plan> plans = {dense()};
    for (const char *policy : {"orthogonal", "orthogonal-raw", "orthogonal-no-kv", "norm-up",
                               "attention-up", "query", "attention-output", "probe"}) {
        plans.push_back(selecting(policy, 4));
    }
    for (const Plan &plan : plans) {
        SCOPED_TRACE(plan.name);
        const Logits expected = logits(plan, tokens);
        EngineOptions options = test_options();
        options.chunk_rows = 37;
        options.body_rows = 10;
        EXPECT_TRUE(nmse_below(k_nmse_f32, logits(plan, tokens, options), expected));
    }
}

TEST_P(ArchitectureTest, PromptIsOneRowStepsWhenDense) {
    const auto tokens = random_tokens(70, 3);
    std::vector<KvType> types = {KvType::f32, KvType::f16};
    const auto &layers = model_->hparams().layers;
    if (std::all_of(layers.begin(), layers.end(),
                    [](const LayerSpec &layer) { return layer.head_dim % 32 == 0; })) {
        types.push_back(KvType::q8_0);
    }
    for (const KvType type : types) {
        EngineOptions options = test_options();
        options.kv_type = type;
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(dense());
        const Logits steps = run_steps(engine, sequence, tokens);
        EXPECT_TRUE(nmse_below(type == KvType::f32 ? k_nmse_f32 : k_nmse_f16_cache, steps,
                               logits(dense(), tokens, options)))
            << kv_type_name(type);
    }
}

// Each as alone: dense, selecting and corrected sequences that decode together.
TEST_P(ArchitectureTest, BatchedDecodeIsOneByOne) {
    const std::vector<Plan> plans = {dense(), selecting("orthogonal"), selecting("norm-up", 4)};
    EngineOptions options = test_options();
    options.n_sequences = 3;
    Engine engine(*model_, options);
    std::vector<Sequence> sequences;
    std::vector<Sequence> alone;
    std::vector<std::unique_ptr<Engine>> engines;
    for (size_t i = 0; i < plans.size(); ++i) {
        engines.push_back(std::make_unique<Engine>(*model_, test_options()));
        sequences.push_back(engine.new_sequence(plans[i]));
        alone.push_back(engines[i]->new_sequence(plans[i]));
        const auto tokens = random_tokens(17 + 12 * static_cast<int>(i), 4);
        run(engine, sequences[i], tokens, Outputs::none);
        run(*engines[i], alone[i], tokens, Outputs::none);
    }
    for (uint64_t step = 0; step < 12; ++step) {
        const auto tokens = random_tokens(3, 100 + step);
        std::vector<Chunk> batch;
        for (size_t i = 0; i < plans.size(); ++i) {
            batch.push_back(
                chunk_of(sequences[i], std::span(&tokens[i], 1), Phase::decode, Outputs::last));
        }
        const std::vector<Logits> found = run_batch(engine, batch);
        for (size_t i = 0; i < plans.size(); ++i) {
            EXPECT_TRUE(nmse_below(
                k_nmse_f32, found[i],
                forward_last(*engines[i], alone[i], std::span(&tokens[i], 1), Phase::decode)))
                << i;
        }
    }
}

// Kernels of our own, on matrices that they take: prompts of many and of few rows, and steps.
TEST_P(ArchitectureTest, OwnKernelsAreNearGgmls) {
    TinyModel tiny = widened(GetParam());
    tiny.weight_type = GGML_TYPE_Q8_0;
    const auto model = load_tiny(tiny);
    const auto tokens = random_tokens(130, 5);
    const auto run_with = [&](Kernels kernels) {
        EngineOptions options = test_options();
        options.kernels = kernels;
        options.kv_type = KvType::f16;
        Engine engine(*model, options);
        Sequence sequence = engine.new_sequence(dense_plan(tiny.n_layers));
        Logits all = run(engine, sequence, std::span(tokens).first(100));
        for (const Logits &more : {run(engine, sequence, std::span(tokens).subspan(100, 20)),
                                   run_steps(engine, sequence, std::span(tokens).subspan(120))}) {
            all.insert(all.end(), more.begin(), more.end());
        }
        return all;
    };
    const double limit = tiny.n_expert > 0 ? 5e-2 : k_nmse_quantised;  // other experts near a tie
    EXPECT_TRUE(nmse_below(limit, run_with(Kernels::fast), run_with(Kernels::exact)));
}

TEST_P(ArchitectureTest, HeldInOtherTypesItSaysNearlyTheSame) {
    ModelOptions options;
    options.device = "CPU";
    options.weights.prefill = options.weights.decode = "bf16";
    const auto held = Model::load(path_, options);
    EXPECT_EQ(held->fingerprint(), model_->fingerprint());
    const auto tokens = random_tokens(50, 6);
    Engine engine(*held, test_options());
    Sequence sequence = engine.new_sequence(dense());
    const double limit = GetParam().n_expert > 0 ? 5e-2 : k_nmse_quantised;
    EXPECT_TRUE(nmse_below(limit, run(engine, sequence, tokens), logits(dense(), tokens)));
}

// Without two layers: what the plan says, by us and by libllama, whose layers take other numbers;
// or a refusal where a file cannot say what the others are.
TEST_P(ArchitectureTest, ExportedWithoutLayersItIsThePlan) {
    const std::string out = dir_.file("s.gguf");
    const GgufChanges changes{{0, 1}, ""};
    if (GetParam().arch == "smollm3") {
        expect_error(ErrorKind::usage, "architecture smollm3 is follows from its number",
                     [&] { export_gguf(path_, out, changes); });
        return;
    }
    export_gguf(path_, out, changes);
    const auto tokens = random_tokens(60, 7);
    const Logits expected = logits(skip_plan(n_layers(), {0, 1}), tokens);
    const auto smaller = load_on_cpu(out);
    Engine engine(*smaller, test_options());
    Sequence sequence = engine.new_sequence(dense_plan(n_layers() - 2));
    EXPECT_TRUE(same_bits(run(engine, sequence, tokens), expected));
    LibllamaOracle oracle(out, 512, 1, KvType::f32);
    EXPECT_TRUE(nmse_below(k_nmse_f32, oracle.decode(tokens, true), expected));
}

// The blocks that are differentiated compute the network: the same loss. That the gradients are
// right is plain_block_test.cpp's.
TEST_P(ArchitectureTest, TaylorsLossIsTheModels) {
    const int n = 48;
    const auto tokens = random_tokens(n, 8);
    if (GetParam().n_embd_per_layer > 0) {
        expect_error(ErrorKind::usage, "Taylor scores are not computed for layers that have",
                     [&] { taylor_scores(*model_, tokens, n, 1); });
        return;
    }
    const TaylorScores scores = taylor_scores(*model_, tokens, n, 1);
    const double loss = mean_loss(logits(dense(), tokens), tokens);
    EXPECT_NEAR(scores.loss, loss, 1e-4 * loss);
    for (const double score : scores.scores) {
        EXPECT_GT(score, 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Tiny, ArchitectureTest, testing::ValuesIn(tiny_architectures()),
                         [](const auto &test) { return test.param.name; });

// A window longer than the original context is rotated as the engine rotates it.
TEST(LongContextTest, TaylorsLossIsTheModels) {
    TinyModel tiny = tiny_architecture("phi");
    tiny.integers = {{"rope.scaling.original_context_length", 32}};
    const TempDir dir;
    write_tiny_gguf(tiny, dir.file("m.gguf"));
    const auto model = load_on_cpu(dir.file("m.gguf"));
    const auto tokens = random_tokens(48, 8);
    Engine engine(*model, test_options());
    Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
    const double loss = mean_loss(run(engine, sequence, tokens), tokens);
    EXPECT_NEAR(taylor_scores(*model, tokens, 48, 1).loss, loss, 1e-4 * loss);
}

// Beyond the window a row does not see a token: what is said there does not depend on it, however
// far the layers reach.
TEST(WindowTest, ATokenBeyondAllWindowsIsNotSeen) {
    TinyModel tiny = tiny_architecture("gemma3");
    tiny.n_layers = 2;  // both have a window of 20: together they reach 38 positions back
    const auto model = load_tiny(tiny);
    auto tokens = random_tokens(60, 1);
    const auto last = [&] {
        Engine engine(*model, test_options());
        Sequence sequence = engine.new_sequence(dense_plan(2));
        return run(engine, sequence, tokens, Outputs::last);
    };
    const Logits before = last();
    tokens[20] = (tokens[20] + 1) % k_tiny_n_vocab;  // 39 before the last
    EXPECT_TRUE(same_bits(last(), before));
    tokens[21] = (tokens[21] + 1) % k_tiny_n_vocab;
    EXPECT_FALSE(same_bits(last(), before));
}

}  // namespace
}  // namespace orthorank::test
