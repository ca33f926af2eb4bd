// The model that a joint search makes cheaper step by step: its plan so far, every changed layer
// with its correction and probe, and the Kullback-Leibler divergence from the dense model that a
// move would bring, over the targets of a window. Some of the windows measure (n_kl_windows, evenly
// spread, and all with a continuation of their own), the others fit, by their prompts. Kept
// in memory: the dense model's hidden states and the base's at all layer boundaries, and the dense
// logits of the measuring windows in F32 (to make them anew for every move would cost as much as a
// quarter of the search, their top alone would not give the divergence). After a move is accepted
// the changed layers behind it are fitted anew, in depth order: what the base is depends on the
// choices alone, not on the order in which they were made. Borrows the engine, of which it needs
// one free sequence, and the windows. One thread. Throws Error{limit} when memory_bytes do not
// suffice, Error{usage} when there are too few windows, Interrupted when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "calibration/joint_search.h"
#include "calibration/layer_fits.h"
#include "calibration/retrieval.h"
#include "engine/engine.h"
#include "engine/stretch.h"
#include "evaluation/windows.h"

namespace orthorank {

struct JointModelOptions {
    std::vector<LayerPlan> choices;  // skip, or select with ratio and policy; nothing fitted yet
    CorrectionOptions correction;
    int n_kl_windows = 1;
    int keep_last = 0;  // of the plan
    // Selecting layers behind the first one take its rows. Then there is one choice, a ratio.
    bool inherits = false;
    int64_t memory_bytes = int64_t{4} << 30;
    std::function<bool()> should_stop;  // asked between windows
};

class JointModel : public JointPrices {
 public:
    // Runs the dense model over all windows.
    JointModel(Engine &engine, const Windows &windows, const JointModelOptions &options);

    const Plan &base() const { return base_; }
    // Layers that may be changed: all but the first and the last.
    std::vector<int> layers() const;
    // The base with these moves, each layer once.
    void restore(std::span<const JointMove> moves);

    // Of the base with other rows kept: the mean over the windows that measure.
    double divergence_of(const Plan &kept);

    size_t n_windows() const override { return kl_windows_.size(); }
    size_t n_kinds() const override { return n_kinds_of(windows_); }
    std::vector<float> base_divergences(size_t window) override;
    std::vector<float> divergences(size_t window, const JointMove &move) override;
    void accept(const JointMove &move) override;
    int64_t n_layer_evaluations() const override { return n_layer_evaluations_; }

    // Layer evaluations that a search of so many rounds takes, n_again moves in each after the
    // first: half the layers for what begins in the middle.
    int64_t expected_layer_evaluations(int n_rounds, int n_again) const;

 private:
    void choose_windows();
    void check_memory() const;
    bool is_measuring(size_t window) const;
    void run_dense(size_t window);
    // The base over its layers first..end-1, from the hidden states that enter `first`.
    void run_base(size_t window, int first, int end);
    // Fits and runs the base from this layer on.
    void walk(int first);
    // What a layer is fitted to, of a window that fits. Throws Interrupted when asked to stop.
    LayerRows fit_rows(int layer, size_t window) const;
    const std::vector<LayerPlan> &fitted(int layer);
    // Does a layer before this one select?
    bool has_earlier_selection(int layer) const;
    // The choices of this layer: those of the options, or with the rows of an earlier one.
    std::vector<LayerPlan> choices_for(int layer) const;
    std::vector<float> divergences_of(const Plan &plan, size_t window, int first);
    void check_stop() const;

    Engine &engine_;
    const Windows &windows_;
    JointModelOptions options_;
    LayerFitter fitter_;
    int n_layers_;
    Plan base_;
    std::vector<int> choices_;         // by layer; -1: dense
    std::vector<size_t> kl_windows_;   // indices into windows_, in the order of order_by_kind()
    std::vector<size_t> fit_windows_;  // the others
    std::vector<HiddenStates> dense_;  // by window of windows_; fit_windows_ only
    std::vector<HiddenStates> kept_;   // of the base, by window of windows_
    // By window of windows_: what the base's first selecting layer decided, where others inherit.
    std::vector<LayerRecord> records_;
    // By window of windows_ and layer: continuation_weights() of those that fit, if rows count by
    // it.
    std::vector<std::vector<std::vector<float>>> weights_;
    // By window of windows_, those that measure: [n_vocab, n_targets].
    std::vector<std::vector<float>> dense_logits_;
    // By layer: the choices with their corrections for the base as it is; empty: not known.
    std::vector<std::vector<LayerPlan>> fitted_;
    int64_t n_layer_evaluations_ = 0;
};

}  // namespace orthorank
