// How much each row of a prompt matters to what follows it, layer by layer: the attention that the
// continuation's rows pay to it in the dense model. Fits weigh the rows' errors by it. Borrows the
// engine, of which it needs one free sequence. Throws what Engine::forward() does.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

// window: a prompt and, behind it, n_continuation tokens. By layer, [rows of the prompt]: for what
// leaves layer l, (1 - part) + part * a / mean(a), a being the attention received in the layers
// behind l (whose keys and values the row's error spoils), summed over heads, layers and the
// continuation's rows; the mean is over the rows but the sink, whose weight is 1. Behind the last
// layer nobody attends: 1 each. 0 <= part <= 1. One dense pass.
std::vector<std::vector<float>> continuation_weights(Engine &engine,
                                                     std::span<const int32_t> window,
                                                     int n_continuation, double part);

}  // namespace orthorank
