// The fits of one layer: for each of several choices what stands in a plan, with the correction
// and the probe that calibration text gives them (docs/layer-selection.md, Corrections). Rows come
// as hidden states, so that whoever walks over the layers keeps them as it likes. Borrows the
// engine, of which it needs one free sequence. One thread. Throws what calibration/ridge_fit.h
// does.
#pragma once

#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "calibration/ridge_fit.h"
#include "engine/engine.h"

namespace orthorank {

struct CorrectionOptions {
    int rank = 64;  // 0: the mean alone
    double ridge = k_default_ridge;
    // Rows at the end of a window that selecting layers compute in any case (Plan::keep_last).
    int keep_last = 0;
    // The part of a row's weight that is the attention which the window's continuation pays to it
    // (calibration/continuation_weights.h); 0: all rows count alike.
    double attention_part = 0;
};

// One window at one layer: [n_embd, n_tokens] each.
struct LayerRows {
    std::span<const float> hidden;  // h, what enters the layer of the model as converted so far
    std::span<const float> target;  // h*, what leaves it in the dense model
    // Policy inherit: 1 for each row that the layer computes.
    std::span<const uint8_t> computed = {};
    // [n_tokens]: how much each row counts in a correction's fit, and its gain in a probe's. Empty:
    // 1 each.
    std::span<const float> weights = {};
    std::span<const int32_t> tokens = {};  // of the rows; as Chunk needs them
};

// Throws Error{usage} for a layer that a pass cannot begin with (Hparams::start_of): a layer is
// fitted to by itself.
void check_has_fits(const Hparams &hparams, int layer);

// The rows of a window; they need be valid until the next call only. Asked for up to four times
// per window.
using LayerSource = std::function<LayerRows(size_t window)>;

struct LayerFit {
    LayerPlan plan;
    double explained = 0;  // the part of sum |h* - h|^2 over the corrected rows made good
    double r_squared = std::numeric_limits<double>::quiet_NaN();  // of the probe, if there is one
};

class LayerFitter {
 public:
    LayerFitter(Engine &engine, const CorrectionOptions &options)
        : engine_(engine), options_(options) {}

    // choices: skip, or select with ratio and policy, all of one policy. A row belongs to the
    // moments of all choices that do not compute it; each is counted once, in bands of the score.
    // A choice that leaves out no row gets the correction of all rows, as a removed layer does. A
    // probe is fitted to rows that are not kept.
    std::vector<LayerFit> fit(int layer, size_t n_windows, const LayerSource &rows,
                              std::span<const LayerPlan> choices);
    // The same with all windows at hand; the plans alone.
    std::vector<LayerPlan> fit(int layer, std::span<const LayerRows> windows,
                               std::span<const LayerPlan> choices);

 private:
    Engine &engine_;
    CorrectionOptions options_;
};

}  // namespace orthorank
