// How an analysis looks: as JSON, as tables, and as one page. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "analysis/figures.h"
#include "report/page.h"

namespace orthorank {

struct Analysis {
    TextStates states;
    SinkLayers sink;
    std::vector<Statement> statements;
    std::optional<LayerSweep> sweep;
    std::vector<Figure> figures;
};

// Sink, statements, figures and sweep (null without one) of a finished pass. model: for titles.
Analysis make_analysis(TextStates states, std::optional<LayerSweep> sweep,
                       const std::string &model);

// What follows the frame of a result: "n_tokens", "ratio", "l_sink", "statements", "sweep", and by
// layer "results" (docs/analysis.md).
void add_analysis_json(const Analysis &analysis, nlohmann::ordered_json &json);

// The three signals; the statements with their outcomes.
ComparisonTable sink_table(const Analysis &analysis);
ComparisonTable statement_table(const std::vector<Statement> &statements);

// Everything on one page. command: as typed; text: the name of what was read.
Page analysis_page(const Analysis &analysis, const std::string &model, const std::string &text,
                   const std::string &command);

}  // namespace orthorank
