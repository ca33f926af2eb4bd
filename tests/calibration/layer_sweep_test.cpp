// The single-layer sweep is the loss of the plan with that layer changed, computed by itself.
#include "calibration/layer_sweep.h"

#include <gtest/gtest.h>

#include <cmath>

#include "calibration/selection_fixture.h"
#include "evaluation/perplexity.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

constexpr int k_n_layers = 5;
constexpr int k_seqlen = 40;

Windows random_windows(int n) {
    Windows windows;
    windows.n_ctx = k_seqlen;
    uint32_t state = 7;
    for (int i = 0; i < n * k_seqlen; ++i) {
        state = state * 1664525 + 1013904223;
        windows.tokens.push_back(static_cast<int32_t>(3 + (state >> 16) % 285));
    }
    return windows;
}

TEST(LayerSweep, IsThePerplexityOfOneLayerChanged) {
    test::TempDir dir;
    test::TinyModel tiny = test::tiny_llama_gqa_tied();
    tiny.n_layers = k_n_layers;
    test::write_tiny_gguf(tiny, dir.file("m.gguf"));
    const auto model = Model::load(dir.file("m.gguf"));
    EngineOptions engine_options;
    engine_options.n_ctx = k_seqlen;
    engine_options.n_threads = 1;
    Engine engine(*model, engine_options);
    const Windows windows = random_windows(2);

    LayerSweepOptions options;
    options.ratio = 0.25;
    double last_fraction = 0;
    size_t n_asked = 0;
    options.on_progress = [&](double fraction) { last_fraction = fraction; };
    options.should_stop = [&] {
        ++n_asked;
        return false;
    };
    const LayerSweep sweep = sweep_layers(engine, windows, options);
    EXPECT_DOUBLE_EQ(last_fraction, 1.0);
    EXPECT_EQ(n_asked, windows.size() * (1 + 4 * k_n_layers)) << "before each, dense ones too";
    ASSERT_EQ(sweep.curves.size(), 4u);

    std::vector<Plan> plans = {dense_plan(k_n_layers)};
    for (const SweepCurve &curve : sweep.curves) {
        ASSERT_EQ(curve.losses.size(), static_cast<size_t>(k_n_layers));
        EXPECT_EQ(curve.change.action, curve.name == "removed" ? Action::skip : Action::select);
        for (int il = 0; il < k_n_layers; ++il) {
            plans.push_back(dense_plan(k_n_layers));
            LayerPlan &layer = plans.back().layers[static_cast<size_t>(il)];
            layer.action = Action::skip;
            if (curve.name != "removed") {
                layer = {Action::select, 0.25, policy_from_name(curve.name)};
            }
        }
    }
    const auto results = perplexity(engine, windows, plans);
    EXPECT_NEAR(std::exp(sweep.dense_loss), results[0].ppl, 1e-9 * results[0].ppl);
    for (size_t i = 1; i < plans.size(); ++i) {
        const SweepCurve &curve = sweep.curves[(i - 1) / k_n_layers];
        const size_t il = (i - 1) % k_n_layers;
        EXPECT_NEAR(std::exp(curve.losses[il]), results[i].ppl, 1e-9 * results[i].ppl)
            << curve.name << " " << il;
    }
}

// The engine refuses a plan without them: the sweep ended there.
TEST(LayerSweep, LayersThatOthersReadAreNotRemoved) {
    test::TempDir dir;
    test::write_tiny_gguf(test::tiny_architecture("gemma4e"), dir.file("m.gguf"));
    const test::Loaded loaded = test::load(dir.file("m.gguf"), k_seqlen);
    const Hparams &hparams = loaded.model->hparams();
    const LayerSweep sweep = sweep_layers(*loaded.engine, random_windows(1), {});
    for (const SweepCurve &curve : sweep.curves) {
        ASSERT_EQ(curve.losses.size(), static_cast<size_t>(hparams.n_layers));
        for (int il = 0; il < hparams.n_layers; ++il) {
            const bool is_none = curve.name == "removed" && hparams.is_read(il);
            EXPECT_EQ(std::isnan(curve.losses[static_cast<size_t>(il)]), is_none)
                << curve.name << " " << il;
        }
    }
    EXPECT_TRUE(hparams.is_read(3));
    const std::string csv = sweep_csv(sweep);
    EXPECT_EQ(csv.find("nan"), std::string::npos) << csv;
    EXPECT_NE(csv.find(",\n"), std::string::npos) << "an empty cell, the last of its line";
    EXPECT_EQ(sweep_svg(sweep, "m").find("nan"), std::string::npos);
}

}  // namespace
}  // namespace orthorank
