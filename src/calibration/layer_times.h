// How long a layer takes in a prefill, dense and as each choice of a joint search would have it:
// medians of interleaved runs of a few layers in the middle of the model over a prompt, whose last
// rows are kept as the search keeps them. Corrections and probes are made up, of the rank that the
// search fits. Uses one sequence of the engine.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

struct LayerTimes {
    double prefill_ms = 0;           // the dense model over the tokens, logits of the last one
    double dense_ms = 0;             // one of its layers
    std::vector<double> choices_ms;  // one layer as that choice
};

struct LayerTimeOptions {
    int rank = 0;                       // of the corrections
    int keep_last = 0;                  // of the plan
    bool inherits = false;              // selecting layers behind the first one take its rows
    std::function<bool()> should_stop;  // asked between runs
};

// prompt: its tokens. Throws Interrupted.
LayerTimes measure_layer_times(Engine &engine, std::span<const int32_t> prompt,
                               std::span<const LayerPlan> choices, const LayerTimeOptions &options);

// The plan that is run: the layers first..end-1 are like this, the others dense.
Plan timed_plan(int n_layers, int first, int end, const LayerPlan &like,
                const LayerTimeOptions &options);

// The part of the dense prefill's time that layers with these choices save (-1: dense).
double time_saved(const LayerTimes &times, std::span<const int> choices);

}  // namespace orthorank
