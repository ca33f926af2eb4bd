// What a reproduction has measured, for tables, figures and claims. Plain data.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/figures.h"
#include "analysis/sink.h"
#include "calibration/layer_sweep.h"
#include "select/plan.h"
#include "session/trace.h"

namespace orthorank {

// Values by document, or by record, of one task or set.
using TaskValues = std::map<std::string, std::vector<double>>;

// A plan beside the dense one, taking turns.
struct SpeedPair {
    std::vector<double> dense_seconds;  // by repetition
    std::vector<double> seconds;
};

// Of one plan; what was not asked for, or cannot be measured here, is empty.
struct PlanFindings {
    Plan plan;
    std::vector<double> window_nlls;  // of C4, by window
    TaskValues choices;               // of the five tasks, 0 to 1
    TaskValues truthful;              // truthfulqa-mc1 (0 to 1), truthfulqa-gen (0 to 100)
    TaskValues longbench;             // 0 to 100
    SpeedPair speed;
    std::string text;  // Table 10's continuation
};

struct AnalysisFindings {
    int l_sink = 0;
    std::vector<Statement> statements;
    std::vector<Figure> figures;
};

struct Findings {
    std::map<std::string, PlanFindings> plans;
    std::vector<LayerSweep> sweeps;  // by window
    std::optional<AnalysisFindings> analysis;
    std::optional<TraceResult> trace;
    std::vector<std::string> missing;  // what a missing file or a small model makes impossible

    // Nothing measured: an empty one.
    const PlanFindings &of(const std::string &plan) const;
};

}  // namespace orthorank
