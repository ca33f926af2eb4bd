// Which layers to remove, or to make selecting: SLEB's greedy search and Shortened LLaMA's one-shot
// perplexity and Taylor criteria, each for both kinds of change (docs/layer-selection.md). Loss:
// the sum over calibration windows of the mean negative log-likelihood. Uses one sequence of the
// engine; throws Error{usage} for options that cannot be, Error{format} when no loss is a number,
// Interrupted when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/selection_race.h"
#include "engine/engine.h"
#include "evaluation/windows.h"

namespace orthorank {

enum class SelectionMethod { sleb, shortened_ppl, shortened_taylor };

// "sleb", "shortened-ppl" or "shortened-taylor". Throws Error{usage} that lists them.
SelectionMethod selection_method_from_name(std::string_view name);
const char *selection_method_name(SelectionMethod method);

// One layer of the order. sleb: the loss of the configuration with this and all layers before it
// changed. shortened-ppl: the loss with this layer alone changed. shortened-taylor: its score.
struct SelectionRound {
    int layer = -1;
    double loss = 0;
    // sleb: what was compared, ascending; NaN: given up before its last window, or not measured.
    std::vector<int> candidates;
    std::vector<double> losses;
};

struct LayerOrder {
    double dense_loss = std::numeric_limits<double>::quiet_NaN();
    std::vector<SelectionRound> rounds;  // the first to be changed first
    RaceMemory race;                     // race: what the rounds so far left for the next one
    int64_t n_layer_evaluations = 0;     // layers computed, each for one window
    double seconds = 0;
};

struct LayerSelectionOptions {
    SelectionMethod method = SelectionMethod::sleb;
    LayerPlan change;          // what becomes of a chosen layer: skip or select
    int n_layers = 0;          // sleb: rounds to run
    bool plus = true;          // shortened-*: never the first four and the last two layers
    bool race = false;         // sleb: old bounds and a statistical test save work; not exact
    int keep_last = 0;         // of the plans that are measured
    bool inherits = false;     // selecting layers behind the first one take its rows
    bool brute_force = false;  // full passes, nothing kept, nothing dropped
    int64_t budget_bytes = int64_t{4} << 30;  // for kept hidden states
    LayerOrder done;  // from an earlier run with the same settings: continues there
    // Fraction done, and the order so far.
    std::function<void(double, const LayerOrder &)> on_progress;
    // After each round; shortened-ppl: after each layer, `rounds` being those measured so far.
    std::function<void(const LayerOrder &)> on_round;
    std::function<bool()> should_stop;  // asked between windows
};

// The order by the loss, or by the Taylor score.
LayerOrder select_layers(Engine &engine, const Windows &windows,
                         const LayerSelectionOptions &options);

// The layers that may be changed at all, ascending: sleb all but the first and the last, the others
// by the "plus" rule.
std::vector<int> eligible_layers(SelectionMethod method, bool plus, int n_layers);

// The one-shot order: eligible layers by their value, ascending; equal values: the lower layer.
std::vector<SelectionRound> one_shot_order(const std::vector<SelectionRound> &measured);

// The paper's rule: sparsity of the layers removed; at ratio p the layers that save as much. One
// third (0.333) counts as exactly that, so 20% is 0.30 of the layers. Rounded half up.
int n_layers_for(double sparsity, const LayerPlan &change, int n_layers);

}  // namespace orthorank
