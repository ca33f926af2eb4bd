// The loss with exactly one layer changed, for every layer: by OrthoRank, by its reverse, at
// random, and with the layer removed (the data of the paper's Figures 4 and 13). A layer whose keys
// others read is not removed: its loss is NaN. Uses one sequence of the engine. Throws Interrupted
// when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "evaluation/windows.h"

namespace orthorank {

struct LayerSweepOptions {
    double ratio = 0.333;
    int64_t budget_bytes = int64_t{4} << 30;  // for kept hidden states
    std::function<void(double)> on_progress;  // fraction done
    std::function<bool()> should_stop;        // asked between windows
};

struct SweepCurve {
    std::string name;  // a policy's, or "removed"
    LayerPlan change;
    // By layer: mean over windows of mean negative log-likelihoods; NaN: there is no such change.
    std::vector<double> losses;
};

struct LayerSweep {
    double dense_loss = 0;
    std::vector<SweepCurve> curves;
};

LayerSweep sweep_layers(Engine &engine, const Windows &windows, const LayerSweepOptions &options);

// A line per layer, a column per curve; NaN is an empty cell.
std::string sweep_csv(const LayerSweep &sweep);
// A plot over the layers, the loss on a logarithmic axis.
std::string sweep_svg(const LayerSweep &sweep, const std::string &title);

}  // namespace orthorank
