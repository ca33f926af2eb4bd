// Calibration of a model whose last layers read the keys of earlier ones and whose layers have
// embeddings of their own: losses from kept states are those of full passes, keys that others read
// are no candidates, and fits end before the layers without keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibration/fit_corrections.h"
#include "calibration/joint_model.h"
#include "calibration/layer_losses.h"
#include "calibration/layer_times.h"
#include "calibration/selection_fixture.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

using testing::Contains;
using testing::Not;

constexpr int k_n_ctx = 48;
constexpr int k_n_layers = 8;

class CalibrationOfSharedKeys : public testing::Test {
 protected:
    CalibrationOfSharedKeys() {
        write_tiny_gguf(tiny_architecture("gemma4e"), dir_.file("m.gguf"));
        loaded_ = load(dir_.file("m.gguf"), k_n_ctx);
    }

    TempDir dir_;
    Loaded loaded_;
    Windows windows_ = windows_of(random_tokens(3 * k_n_ctx, 1), k_n_ctx);
};

TEST_F(CalibrationOfSharedKeys, LossesFromKeptStatesAreThoseOfFullPasses) {
    constexpr int64_t k_plenty = 1 << 30;
    LayerLosses kept(*loaded_.engine, windows_, k_plenty);
    LayerLosses full(*loaded_.engine, windows_, 0);
    for (LayerLosses *losses : {&kept, &full}) {
        losses->accept(1, selecting(0.4));
    }
    for (int il = 2; il < k_n_layers; ++il) {
        SCOPED_TRACE(il);
        EXPECT_TRUE(
            same_bits(kept.log_probs(1, il, selecting()), full.log_probs(1, il, selecting())));
    }
    EXPECT_LT(kept.n_layer_evaluations(), full.n_layer_evaluations());
}

TEST_F(CalibrationOfSharedKeys, LayersThatOthersReadAreNotRemoved) {
    LayerSelectionOptions options;
    options.method = SelectionMethod::sleb;
    options.n_layers = 4;
    options.change = removed();
    const std::vector<int> chosen = layers_of(select_layers(*loaded_.engine, windows_, options));
    EXPECT_EQ(chosen.size(), 4u);
    EXPECT_THAT(chosen, Not(Contains(3)));
    EXPECT_THAT(chosen, Not(Contains(4)));
    options.n_layers = 5;  // the inner six without these two
    expect_error(ErrorKind::usage, "5 layers were asked for, 4 can be changed",
                 [&] { select_layers(*loaded_.engine, windows_, options); });
    options.change = selecting();
    EXPECT_EQ(layers_of(select_layers(*loaded_.engine, windows_, options)).size(), 5u);
}

// A layer is fitted to by itself, which those that read an earlier one's keys do not compute.
TEST_F(CalibrationOfSharedKeys, FitsEndBeforeTheTail) {
    FitOptions options;
    options.correction.rank = 4;
    const Plan plan = fit_corrections(*loaded_.engine, windows_,
                                      select_plan(k_n_layers, {1, 3}, 0.3, "probe"), options);
    EXPECT_NE(plan.layers[3].correction, nullptr);
    EXPECT_NE(plan.layers[3].probe, nullptr);
    Sequence sequence = loaded_.engine->new_sequence(plan);
    EXPECT_FALSE(run(*loaded_.engine, sequence, windows_.window(0)).empty());
    expect_error(ErrorKind::usage,
                 "layers behind layer 3 are not computed from their inputs alone, since some read "
                 "keys of earlier ones: nothing is fitted to layer 6, it must stay as it is",
                 [&] {
                     fit_corrections(*loaded_.engine, windows_,
                                     select_plan(k_n_layers, {1, 6}, 0.3), options);
                 });
    expect_error(ErrorKind::usage, "fitted to layer 7, it must stay",
                 [&] { JointModel(*loaded_.engine, windows_, {}); });
}

TEST_F(CalibrationOfSharedKeys, LayersAreTimedBeforeTheTail) {
    const std::vector<LayerPlan> choices = {selecting()};
    LayerTimeOptions options;
    options.rank = 4;
    const LayerTimes times =
        measure_layer_times(*loaded_.engine, windows_.window(0), choices, options);
    EXPECT_EQ(times.choices_ms.size(), 1u);
}

}  // namespace
}  // namespace orthorank::test
