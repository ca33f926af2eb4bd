// The loss of a model on calibration windows with one more layer changed (removed, or made
// selecting): what every layer selection asks for, again and again. The configuration so far is
// the base; its hidden states are kept at layer boundaries, so that a candidate is computed from
// its own layer on. Same numbers as full passes, to the bit. Borrows the engine, of which it needs
// one free sequence, and the windows. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "engine/stretch.h"
#include "evaluation/windows.h"

namespace orthorank {

class LayerLosses {
 public:
    // budget_bytes: what the kept hidden states may take; 0: none are kept, each loss is a full
    // pass from the tokens (brute force). If they do not all fit, every s-th boundary is kept.
    // keep_last: of the plans that are measured. inherits: all selecting layers behind the first
    // one take its rows (with_inherited_rows).
    LayerLosses(Engine &engine, const Windows &windows, int64_t budget_bytes, int keep_last = 0,
                bool inherits = false);

    const Plan &base() const { return base_; }
    size_t n_windows() const { return windows_.size(); }

    // Mean negative log-likelihood of a window's targets, of the base.
    double base_nll(size_t window);
    // Of the base with one layer changed.
    double nll(size_t window, int layer, const LayerPlan &change);
    // The same, token by token: log-probabilities.
    std::vector<float> log_probs(size_t window, int layer, const LayerPlan &change);

    // The base gets this change; hidden states behind the layer are forgotten.
    void accept(int layer, const LayerPlan &change);

    // Layers computed, each for one window. A selecting layer counts as one.
    int64_t n_layer_evaluations() const { return n_layer_evaluations_; }
    // Those that log_probs(window, layer, ...) would take now, without those of the base.
    int64_t cost(int layer, const LayerPlan &change) const;

 private:
    Plan changed(int layer, const LayerPlan &change) const;
    WindowStart start_for(size_t window, int layer);
    void keep_base(size_t window, int layer);
    int last_kept_boundary(int layer) const;

    Engine &engine_;
    const Windows &windows_;
    Plan base_;
    bool inherits_;
    std::vector<int> boundaries_;     // kept ones, ascending
    std::vector<HiddenStates> kept_;  // per window; valid entries only
    // Per window: what the base's first selecting layer decided, where states behind it are kept
    // and others inherit its rows.
    std::vector<LayerRecord> records_;
    int64_t n_layer_evaluations_ = 0;
};

}  // namespace orthorank
