// Whether a model has what selection by orthogonality to the first token needs: a sink there, by
// its massive activation or by the attention that it draws, that stays what it is from layer to
// layer. Measured on one short text. Pure functions but for measure_sink().
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "analysis/layer_states.h"
#include "analysis/sink.h"

namespace orthorank {

constexpr int k_sink_tokens = 101;         // the paper's text (its Appendix F)
constexpr double k_constant_cosine = 0.8;  // below, position 0 is not constant
constexpr int k_few_massive_layers = 3;    // in fewer, a position is passed over

struct MassivePosition {
    int position = 0;
    int n_layers = 0;   // in which it has a massive activation
    int32_t token = 0;  // which stands there
};

struct SinkReport {
    SinkLayers layers;
    // Where "behind" begins: by the activation, without one by the attention, else by the cosines.
    int first = 0;
    // The largest |value| of position 0 over the median of all rows, over layers from there on.
    double smallest_over_median = 0;
    double largest_over_median = 0;
    // Of position 0, normed, between every two layers behind it; nothing for fewer than two layers.
    std::optional<double> mean_cosine;
    std::optional<double> smallest_cosine;
    double growth = 1;     // its largest |value| over layers, the largest over the smallest
    double attention = 0;  // on key 0, mean over layers behind it, heads and rows
    // Others with a massive activation behind it, the most frequent first.
    std::vector<MassivePosition> others;
    // What speaks against the premise, one sentence each; empty: it holds.
    std::vector<std::string> warnings;
};

// Of a pass that kept position 0.
SinkReport sink_report(const TextStates &states, std::span<const int32_t> tokens);

// A dense pass over the tokens, at least two, by an engine with a free sequence and room for them.
SinkReport measure_sink(Engine &engine, std::span<const int32_t> tokens,
                        const std::function<bool()> &should_stop = {});

}  // namespace orthorank
