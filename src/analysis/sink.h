// Where the first token becomes an attention sink, by three signals, and the statements about it
// as tests. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/layer_states.h"

namespace orthorank {

// Layers by the states that enter them; nothing where a signal finds none.
struct SinkLayers {
    // A, the definition: the first layer from which on the first row has a massive activation, in
    // all layers to the last.
    std::optional<int> by_activation;
    // B: where the mean cosine of the others with the first row falls most from the layer before.
    int by_cosine = 1;
    // C: the first layer where the first key gets more than 0.3 of the others' attention.
    std::optional<int> by_attention;

    // A, or without one B.
    int l_sink() const { return by_activation.value_or(by_cosine); }
};

constexpr double k_sink_attention = 0.3;

// Of a model with two layers at least.
SinkLayers find_sink(const TextStates &states);

// A sentence of the paper, and what it is on this model and text.
struct Statement {
    std::string name;           // "Observation 1"
    std::string text;           // what is tested, with its limit
    std::optional<bool> holds;  // nothing: there is nothing to test it on
    std::vector<std::pair<std::string, double>> numbers;
};

// Needs the kept positions 0, 50 and 100.
std::vector<Statement> tested_statements(const TextStates &states, const SinkLayers &sink);

// "holds", "does not hold", "not tested".
const char *outcome_text(const Statement &statement);

}  // namespace orthorank
