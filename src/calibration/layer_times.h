// How long a layer takes in a prefill, dense and as each choice of a joint search would have it:
// medians of interleaved runs of a few layers in the middle of the model. Corrections and probes
// are made up, of the rank that the search fits. Uses one sequence of the engine.
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

// rank: of the corrections. should_stop is asked between runs; Interrupted.
LayerTimes measure_layer_times(Engine &engine, std::span<const int32_t> tokens,
                               std::span<const LayerPlan> choices, int rank,
                               const std::function<bool()> &should_stop);

}  // namespace orthorank
