// The paper's figures of one model, drawn and as data. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "analysis/layer_states.h"
#include "analysis/sink.h"
#include "calibration/layer_sweep.h"
#include "report/comparison_table.h"

namespace orthorank {

struct Figure {
    std::string name;     // of its files
    std::string caption;  // which figure of the paper it is, and what it shows
    std::string svg;
    ComparisonTable data;
};

// Positions whose rows the figures and statements need; those beyond a text are left out there.
std::vector<int> figure_positions();
// Tokens that all but Figure 11's far positions need.
constexpr size_t k_min_analysis_tokens = 101;

// Figures 2, 3, 9 to 12, the attention on the first key, and the policies' agreement with what the
// layers change. model: for titles.
std::vector<Figure> analysis_figures(const TextStates &states, const SinkLayers &sink,
                                     const std::string &model);

// Figures 4 and 13: perplexities with one layer changed.
Figure sweep_figure(const LayerSweep &sweep, const SinkLayers &sink, const std::string &model);

}  // namespace orthorank
