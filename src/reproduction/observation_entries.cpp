// Figures 2 to 5 and 9 to 13: what the model itself shows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/heat_map.h"
#include "report/numbers_text.h"
#include "report/svg.h"
#include "reproduction/entry_parts.h"
#include "reproduction/observations.h"

namespace orthorank {

namespace {

Needs analysis_needs(const Workshop &) {
    Needs needs;
    needs.analysis = true;
    return needs;
}

// figure-N itself and its parts figure-N-...
void add_figures(const Workshop &workshop, const std::string &name, EntryResult &result) {
    for (const Figure &figure : workshop.findings().analysis->figures) {
        if (figure.name == name || figure.name.starts_with(name + "-")) {
            result.figures.push_back(figure);
        }
    }
}

Claim claim_of(const Statement &statement) {
    Claim claim;
    claim.text = fmt::format("{}: {}", statement.name, statement.text);
    claim.outcome = !statement.holds   ? Outcome::not_tested
                    : *statement.holds ? Outcome::holds
                                       : Outcome::does_not_hold;
    for (const auto &[name, value] : statement.numbers) {
        std::string words = name;
        std::replace(words.begin(), words.end(), '_', ' ');
        claim.reason +=
            fmt::format("{}{} {}", claim.reason.empty() ? "" : ", ", words, value_text(value));
    }
    return claim;
}

// Statements of the analysis whose names begin so.
void add_statements(const Workshop &workshop, const std::vector<std::string> &beginnings,
                    EntryResult &result) {
    for (const Statement &statement : workshop.findings().analysis->statements) {
        for (const std::string &beginning : beginnings) {
            if (statement.name.starts_with(beginning)) {
                result.claims.push_back(claim_of(statement));
                break;
            }
        }
    }
}

EntryResult analysis_result(const Workshop &workshop, const std::vector<std::string> &figures,
                            const std::vector<std::string> &statements) {
    EntryResult result;
    if (!workshop.findings().analysis) {
        result.notes = {"WikiText-2's test split is not there."};
        return result;
    }
    for (const std::string &figure : figures) {
        add_figures(workshop, figure, result);
    }
    add_statements(workshop, statements, result);
    result.notes = {fmt::format(
        "The first {} tokens of WikiText-2's test split without line ends; l_sink is layer {}. "
        "These statements have limits in place of standard errors.",
        workshop.sources().analysis_text.size(), workshop.findings().analysis->l_sink)};
    return result;
}

EntryResult figure_2(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-2"}, {"Observation 1", "Attention sink"});
}
EntryResult figure_3(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-3"}, {"Observation 2"});
}
EntryResult figure_9(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-3", "figure-9"}, {});
}
EntryResult figure_10(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-10"}, {});
}
EntryResult figure_11(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-11"}, {});
}
EntryResult figure_12(const Workshop &workshop) {
    return analysis_result(workshop, {"figure-12"},
                           {"Equation 1", "Equation 2", "Equation 3", "Appendix C.1"});
}

Needs sweep_needs(const Workshop &) {
    Needs needs;
    needs.sweep = true;
    needs.analysis = true;  // layers behind l_sink
    return needs;
}

const std::vector<double> &losses_of(const LayerSweep &sweep, const char *curve) {
    const auto found = std::find_if(sweep.curves.begin(), sweep.curves.end(),
                                    [&](const SweepCurve &c) { return c.name == curve; });
    CHECK(found != sweep.curves.end());
    return found->losses;
}

// By window, over the layers behind l_sink but the last: the part in which the method's loss is the
// lowest of the three policies, and how far it is below another's.
struct SweepNumbers {
    std::vector<double> part_lowest;
    std::vector<double> below_random;
    std::vector<double> below_reverse;
};

SweepNumbers sweep_numbers(const Findings &findings) {
    SweepNumbers numbers;
    for (const LayerSweep &sweep : findings.sweeps) {
        const std::vector<double> &ours = losses_of(sweep, "orthogonal");
        const std::vector<double> &reverse = losses_of(sweep, "orthogonal-reverse");
        const std::vector<double> &random = losses_of(sweep, "random");
        const auto first = static_cast<size_t>(findings.analysis->l_sink) + 1;
        double n_lowest = 0;
        double random_sum = 0;
        double reverse_sum = 0;
        double n = 0;
        for (size_t il = first; il + 1 < ours.size(); ++il) {
            n_lowest += ours[il] < std::min(reverse[il], random[il]) ? 1 : 0;
            random_sum += random[il] - ours[il];
            reverse_sum += reverse[il] - ours[il];
            n += 1;
        }
        if (n > 0) {
            numbers.part_lowest.push_back(n_lowest / n);
            numbers.below_random.push_back(random_sum / n);
            numbers.below_reverse.push_back(reverse_sum / n);
        }
    }
    return numbers;
}

std::optional<Estimate> estimate_of(const std::vector<double> &values) {
    return values.empty() ? std::optional<Estimate>() : estimate_mean(values);
}

EntryResult sweep_entry(const Workshop &workshop) {
    EntryResult result;
    const Findings &findings = workshop.findings();
    if (findings.sweeps.empty() || !findings.analysis) {
        result.notes = {"WikiText-2's test split is not there."};
        return result;
    }
    SinkLayers sink;
    sink.by_activation = findings.analysis->l_sink;
    result.figures = {
        sweep_figure(mean_sweep(findings.sweeps), sink, workshop.model().hparams().name)};
    const SweepNumbers numbers = sweep_numbers(findings);
    std::optional<Estimate> part = estimate_of(numbers.part_lowest);
    if (part) {
        part->mean -= 0.5;
    }
    result.claims = {
        tested_claim("in more than half of the layers behind l_sink but the last, one selecting "
                     "layer loses less with OrthoRank than reversed and at random",
                     part, "part of the layers above a half"),
        tested_claim("in the mean over these layers it loses less than at random",
                     estimate_of(numbers.below_random), k_nats),
        tested_claim("in the mean over these layers it loses less than reversed",
                     estimate_of(numbers.below_reverse), k_nats)};
    result.notes = {fmt::format(
        "WikiText-2's test split, the first {} windows of {} tokens; l_sink is layer {}. Figure 13 "
        "is Figure 4 for each of the paper's models.",
        findings.sweeps.size(), workshop.sources().sweep->n_ctx, findings.analysis->l_sink)};
    return result;
}

Needs figure_5_needs(const Workshop &) {
    Needs needs;
    needs.trace = true;
    return needs;
}

Figure rows_figure(const Workshop &workshop, const TraceResult &trace) {
    HeatMap map;
    map.title = "rows that OrthoRank 20% computes: " + workshop.model().hparams().name;
    map.x_label = "position";
    map.y_label = "selecting layer";
    map.value_label = "score, power of ten";
    map.n_columns = trace.tokens.size();
    map.n_rows = trace.layers.size();
    Figure figure{"figure-5",
                  "Figure 5: scores of a text's first rows by position in the selecting layers of "
                  "OrthoRank 20%; dots are the rows that are computed, the cross is the sink.",
                  "",
                  {}};
    for (const TraceLayer &layer : trace.layers) {
        map.row_names.push_back(std::to_string(layer.index));
        for (size_t i = 0; i < trace.tokens.size(); ++i) {
            const double score = i == 0 ? 0.0 : static_cast<double>(layer.scores[i]);
            const bool is_computed = layer.is_computed(static_cast<int32_t>(i));
            map.values.push_back(score > 0 ? std::log10(score) : std::nan(""));
            map.marks.push_back(i == 0        ? CellMark::cross
                                : is_computed ? CellMark::dot
                                              : CellMark::none);
            map.hovers.push_back(trace.pieces[i]);
            add_row({{"layer", std::to_string(layer.index)},
                     {"position", std::to_string(i)},
                     {"score", i == 0 ? "" : exact_text(score)},
                     {"computed", is_computed ? "1" : "0"}},
                    figure.data);
        }
    }
    figure.svg = heat_map_svg(map);
    return figure;
}

EntryResult figure_5(const Workshop &workshop) {
    EntryResult result;
    const std::optional<TraceResult> &trace = workshop.findings().trace;
    if (!trace || trace->layers.empty()) {
        result.notes = {"Without its texts no plan was found to show."};
        return result;
    }
    result.figures = {rows_figure(workshop, *trace)};
    result.notes = {
        "The paper's Figure 5 is taken to be its drawing of the method, which has no numbers; this "
        "is what the method does on this model. There is no claim here."};
    return result;
}

}  // namespace

std::vector<Entry> observation_entries() {
    return {
        {"fig2",
         {"figure2"},
         "Figure 2: the first row and the next ones",
         analysis_needs,
         figure_2},
        {"fig3", {"figure3"}, "Figure 3: one row across layers", analysis_needs, figure_3},
        {"fig4", {"figure4"}, "Figure 4: one selecting layer", sweep_needs, sweep_entry},
        {"fig5", {"figure5"}, "Figure 5: the method", figure_5_needs, figure_5},
        {"fig9", {"figure9"}, "Figure 9: more rows across layers", analysis_needs, figure_9},
        {"fig10", {"figure10"}, "Figure 10: rows 91 to 100", analysis_needs, figure_10},
        {"fig11", {"figure11"}, "Figure 11: rows near and far", analysis_needs, figure_11},
        {"fig12", {"figure12"}, "Figure 12: lengths of normed rows", analysis_needs, figure_12},
        {"fig13",
         {"figure13"},
         "Figure 13: one selecting layer, by model",
         sweep_needs,
         sweep_entry},
    };
}

}  // namespace orthorank
