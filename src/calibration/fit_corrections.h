// Corrections and probes for all changed layers of a plan, fitted in one walk over the layers
// (docs/layer-selection.md, Corrections and probes), by the prompts of the windows. Two streams of
// hidden states go along, one pair per calibration window: those of the dense model and those of
// the model as converted so far; what does not fit into memory goes to a temporary file. Uses one
// sequence of the engine; throws what calibration/ridge_fit.h does, Error{usage} for a plan that
// changes nothing, Error{file} for the temporary file, Interrupted when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "calibration/layer_fits.h"
#include "engine/engine.h"
#include "evaluation/windows.h"

namespace orthorank {

struct FitOptions {
    CorrectionOptions correction;
    int64_t budget_bytes = int64_t{4} << 30;  // of hidden states in memory
    // Fraction done.
    std::function<void(double)> on_progress;
    // After each layer.
    std::function<void(int layer, const LayerFit &fit)> on_layer;
    std::function<bool()> should_stop;  // asked between windows
};

// The plan with a correction in every layer that is removed or selects, and a probe in those whose
// policy is probe; any that it had are fitted anew.
Plan fit_corrections(Engine &engine, const Windows &windows, const Plan &plan,
                     const FitOptions &options);

}  // namespace orthorank
