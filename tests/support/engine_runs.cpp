#include "support/engine_runs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "support/paths.h"

namespace orthorank::test {

std::string fixture_path(const std::string &name) {
    return ORTHORANK_SOURCE_DIR "/tests/fixtures/" + name;
}

const Model &fixture_model(const std::string &name) {
    static std::map<std::string, std::unique_ptr<Model>> models;
    std::unique_ptr<Model> &model = models[name];
    if (!model) {
        model = load_on_cpu(fixture_path("models/" + name + ".gguf"));
    }
    return *model;
}

std::vector<std::string> fixture_model_names() {
    return {"tiny-llama-gqa", "tiny-mixtral", "tiny-llama3-ropefreqs",
            "tiny-qwen2",     "tiny-qwen3",   "tiny-gemma3"};
}

std::vector<std::string> main_fixture_models() {
    return {"tiny-llama-gqa", "tiny-mixtral", "tiny-qwen3"};
}

std::string test_name(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
}

std::unique_ptr<Model> load_on_cpu(const std::string &path) {
    ModelOptions options;
    options.device = "CPU";
    options.use_mmap = false;
    return Model::load(path, options);
}

std::unique_ptr<Model> load_tiny(const TinyModel &model) {
    const TempDir dir;
    write_tiny_gguf(model, dir.file("tiny.gguf"));
    return load_on_cpu(dir.file("tiny.gguf"));
}

EngineOptions test_options() {
    EngineOptions options;
    options.n_ctx = 512;
    options.n_threads = 1;
    options.kv_type = KvType::f32;
    options.kernels = Kernels::exact;
    return options;
}

std::vector<int32_t> random_tokens(int n, uint64_t seed, int n_vocab) {
    std::mt19937_64 random(seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i < n; ++i) {
        tokens.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(n_vocab)));
    }
    return tokens;
}

Plan select_plan(int n_layers, const std::vector<int> &layers, double ratio,
                 const std::string &policy, uint64_t seed) {
    Plan plan = dense_plan(n_layers);
    for (const int il : layers) {
        LayerPlan &layer = plan.layers.at(static_cast<size_t>(il));
        layer.action = Action::select;
        layer.ratio = ratio;
        layer.policy = policy_from_name(policy);
        layer.policy.seed = seed;
    }
    return plan;
}

Plan skip_plan(int n_layers, const std::vector<int> &layers) {
    Plan plan = dense_plan(n_layers);
    for (const int il : layers) {
        plan.layers.at(static_cast<size_t>(il)).action = Action::skip;
        plan.layers.at(static_cast<size_t>(il)).ratio = 0;
    }
    return plan;
}

namespace {

std::vector<float> random_values(size_t n, double size, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<float> values;
    for (size_t i = 0; i < n; ++i) {
        const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;
        values.push_back(static_cast<float>(size * std::sqrt(12.0) * (uniform - 0.5)));
    }
    return values;
}

}  // namespace

CorrectionPtr random_correction(int n_embd, int rank, uint64_t seed) {
    const size_t n = static_cast<size_t>(n_embd) * static_cast<size_t>(rank);
    Correction correction;
    correction.n_embd = n_embd;
    correction.rank = rank;
    correction.down = random_values(n, 1.0 / std::sqrt(n_embd), seed);
    correction.up = random_values(n, 0.3 / std::sqrt(std::max(rank, 1)), seed + 1);
    correction.bias = random_values(static_cast<size_t>(n_embd), 0.1, seed + 2);
    return std::make_shared<const Correction>(std::move(correction));
}

ProbePtr random_probe(int n_embd, uint64_t seed) {
    return std::make_shared<const Probe>(
        Probe{random_values(static_cast<size_t>(n_embd), 1.0, seed)});
}

Plan completed(Plan plan, int n_embd, int rank, uint64_t seed) {
    for (LayerPlan &layer : plan.layers) {
        seed += 10;
        if (layer.action == Action::select && layer.policy.score == ScoreKind::probe) {
            layer.probe = random_probe(n_embd, seed);
        }
        if (layer.action != Action::dense && rank >= 0) {
            layer.correction = random_correction(n_embd, rank, seed + 1);
        }
    }
    return plan;
}

bool HiddenTap::wants_hidden(int boundary) const {
    return std::find(boundaries_.begin(), boundaries_.end(), boundary) != boundaries_.end();
}

void HiddenTap::on_hidden(int boundary, size_t chunk, std::span<const float> hidden) {
    ASSERT_TRUE(wants_hidden(boundary));
    hidden_[{boundary, chunk}].assign(hidden.begin(), hidden.end());
}

const std::vector<float> &HiddenTap::hidden(int boundary, size_t chunk) const {
    return hidden_.at({boundary, chunk});
}

Chunk chunk_of(Sequence &sequence, std::span<const int32_t> tokens, Phase phase, Outputs outputs) {
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.tokens = tokens;
    chunk.phase = phase;
    chunk.outputs = outputs;
    return chunk;
}

std::vector<Logits> run_batch(Engine &engine, std::span<const Chunk> batch,
                              ForwardOptions options) {
    std::vector<Logits> logits(batch.size());
    std::vector<int64_t> next_row(batch.size(), -1);
    options.on_logits = [&](const LogitsBlock &block) {
        ASSERT_LT(block.chunk, batch.size());
        int64_t &next = next_row[block.chunk];
        EXPECT_TRUE(next < 0 || next == block.first_row) << "blocks out of order";
        next = block.first_row + block.n_rows;
        EXPECT_EQ(block.n_vocab, engine.model().hparams().n_vocab);
        logits[block.chunk].insert(logits[block.chunk].end(), block.logits,
                                   block.logits + block.n_rows * block.n_vocab);
    };
    engine.forward(batch, options);
    return logits;
}

Logits run(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens, Outputs outputs,
           Tap *tap) {
    const Chunk chunk = chunk_of(sequence, tokens, Phase::prefill, outputs);
    ForwardOptions options;
    options.tap = tap;
    return run_batch(engine, std::span<const Chunk>(&chunk, 1), options).front();
}

Logits run_steps(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens) {
    Logits logits;
    for (size_t i = 0; i < tokens.size(); ++i) {
        const Logits row = forward_last(engine, sequence, tokens.subspan(i, 1), Phase::decode);
        logits.insert(logits.end(), row.begin(), row.end());
    }
    return logits;
}

}  // namespace orthorank::test
