// Corrections and probes on the device: shared by sequences, counted, freed, refused when they do
// not fit.
#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

class CorrectionTensorsTest : public testing::Test {
 protected:
    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    const int n_embd_ = model_.hparams().n_embd;
    Plan plan(uint64_t seed) const {
        return completed(select_plan(n_layers_, {1, 2}, 0.5, "probe"), n_embd_, 4, seed);
    }
};

TEST_F(CorrectionTensorsTest, AreSharedCountedAndFreed) {
    EngineOptions options = test_options();
    options.n_sequences = 3;
    Engine engine(model_, options);
    EXPECT_EQ(engine.memory().correction_bytes, 0);
    const Plan one = plan(1), two = plan(2);
    const auto tokens = random_tokens(3, 90);
    auto a = std::make_unique<Sequence>(engine.new_sequence(one));
    const int64_t bytes = engine.memory().correction_bytes;
    // Two layers: down and up in F16, bias and probe in F32, and what alignment adds.
    const int64_t n_bytes = 2 * (2 * 4 * n_embd_ * 2 + 2 * n_embd_ * 4);
    EXPECT_GE(bytes, n_bytes);
    EXPECT_LE(bytes, n_bytes + 2 * 4 * 64);
    {
        const Sequence b = engine.new_sequence(one);
        EXPECT_EQ(engine.memory().correction_bytes, bytes);
        const Sequence c = engine.new_sequence(two);
        EXPECT_EQ(engine.memory().correction_bytes, 2 * bytes);
    }
    const Logits first = run(engine, *a, tokens);
    a.reset();
    for (uint64_t seed = 10; seed < 20; ++seed) {  // as a fit does, each plan once
        Sequence sequence = engine.new_sequence(plan(seed));
        EXPECT_EQ(engine.memory().correction_bytes, bytes);
        EXPECT_FALSE(same_bits(run(engine, sequence, tokens), first));
    }
    Sequence again = engine.new_sequence(one);
    EXPECT_EQ(engine.memory().correction_bytes, bytes);
    EXPECT_TRUE(same_bits(run(engine, again, tokens), first));
    engine.new_sequence(dense_plan(n_layers_));
    EXPECT_EQ(engine.memory().correction_bytes, bytes) << "still used";
    const Sequence copy = engine.fork(again);
    EXPECT_EQ(engine.memory().correction_bytes, bytes);
}

TEST_F(CorrectionTensorsTest, ThoseBeforeOneThatCouldNotBeUploadedStayed) {
    Engine engine(model_, test_options());
    const Plan good = plan(1);
    Plan bad = plan(2);
    auto correction = std::make_shared<Correction>(*bad.layers[2].correction);
    correction->up[3] = 1e6f;
    bad.layers[2].correction = correction;
    for (int i = 0; i < 3; ++i) {
        expect_error(ErrorKind::format, "layer 2: its correction up has the value 1000000",
                     [&] { engine.new_sequence(bad); });
        EXPECT_EQ(engine.memory().correction_bytes, 0);
    }
    const Sequence sequence = engine.new_sequence(good);  // the only slot is free
    const int64_t bytes = engine.memory().correction_bytes;
    EXPECT_GT(bytes, 0);
    expect_error(ErrorKind::limit, "all 1 sequences", [&] { engine.new_sequence(plan(3)); });
    EXPECT_EQ(engine.memory().correction_bytes, bytes);
}

TEST_F(CorrectionTensorsTest, WhatDoesNotFitIsOneLine) {
    Engine engine(model_, test_options());
    const auto expect_refused = [&](const std::string &part, const auto &change) {
        Plan changed = plan(1);
        auto correction = std::make_shared<Correction>(*changed.layers[1].correction);
        auto probe = std::make_shared<Probe>(*changed.layers[1].probe);
        change(*correction, *probe);
        changed.layers[1].correction = correction;
        changed.layers[1].probe = probe;
        expect_error(ErrorKind::format, part, [&] { engine.new_sequence(changed); });
    };
    expect_refused("layer 1: its correction has width 7 and rank 4, the model",
                   [](Correction &c, Probe &) { c.n_embd = 7; });
    expect_refused("layer 1: its correction down has", [](Correction &c, Probe &) { c.rank = 5; });
    expect_refused("layer 1: its correction bias has 3 values",
                   [](Correction &c, Probe &) { c.bias.resize(3); });
    expect_refused("layer 1: its probe has 7 values",
                   [](Correction &, Probe &p) { p.weight.resize(7); });
    expect_refused("which f16 cannot hold", [](Correction &c, Probe &) { c.up[3] = 1e6f; });
    expect_refused("which f32 cannot hold", [](Correction &, Probe &p) {
        p.weight[2] = std::numeric_limits<float>::quiet_NaN();
    });
    EXPECT_EQ(engine.memory().correction_bytes, 0);
    Sequence sequence = engine.new_sequence(plan(1));  // the engine and its slot are still good
    EXPECT_EQ(run(engine, sequence, random_tokens(4, 91), Outputs::last).size(),
              static_cast<size_t>(model_.hparams().n_vocab));
}

}  // namespace
}  // namespace orthorank::test
