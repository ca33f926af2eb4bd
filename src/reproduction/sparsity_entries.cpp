// Figures 6, 7, 8 and 14: quality and throughput against sparsity, and how one sparsity is spread
// over few layers or many.
#include <fmt/format.h>

#include <cmath>

#include "report/numbers_text.h"
#include "report/plot.h"
#include "reproduction/entry_parts.h"

namespace orthorank {

namespace {

const std::vector<std::string> k_searches = {"sleb", "orthorank"};

std::string level_plan(const std::string &search, int percent) {
    return fmt::format("{}-{}", search, percent);
}

Needs levels_needs(bool with_speed, int highest) {
    Needs needs;
    needs.add(Measure::perplexity, "dense");
    needs.add(Measure::choices, "dense");
    for (const std::string &search : k_searches) {
        for (int percent : sparsity_levels()) {
            if (percent > highest) {
                continue;
            }
            needs.add(Measure::perplexity, level_plan(search, percent));
            needs.add(Measure::choices, level_plan(search, percent));
            if (with_speed) {
                needs.add(Measure::speed, level_plan(search, percent));
            }
        }
    }
    return needs;
}

Needs figure_6_needs(const Workshop &) {
    return levels_needs(true, 40);
}
Needs figure_8_needs(const Workshop &) {
    return levels_needs(false, 40);
}
Needs figure_14_needs(const Workshop &) {
    return levels_needs(true, 50);
}

ComparisonTable levels_table(const Workshop &workshop, bool with_speed, int highest) {
    ComparisonTable table;
    const auto add = [&](const std::string &plan) {
        Cells cells = plan_cells(workshop, plan);
        add_perplexity(workshop, plan, cells);
        add_mean(workshop, plan, cells);
        if (with_speed) {
            cells.emplace_back("throughput over dense",
                               plan == "dense"
                                   ? "1"
                                   : rounded_text(speed_up_of(workshop.findings().of(plan).speed)));
        }
        add_row(cells, table);
    };
    add("dense");
    for (int percent : sparsity_levels()) {
        for (const std::string &search : k_searches) {
            if (percent <= highest) {
                add(level_plan(search, percent));
            }
        }
    }
    return table;
}

// One point of a line, with its whiskers; left out where something is missing.
void add_point(std::optional<double> x, const std::optional<Estimate> &y, const std::string &label,
               PlotLine &line) {
    if (!x || !y) {
        return;
    }
    const double error = std::isfinite(y->standard_error) ? y->standard_error : 0.0;
    line.x.push_back(*x);
    line.y.push_back(y->mean);
    line.low.push_back(y->mean - error);
    line.high.push_back(y->mean + error);
    line.labels.push_back(label);
}

struct LevelsPlot {
    std::string name;
    std::string caption;
    bool is_by_speed = false;
    bool is_perplexity = true;
    int highest = 40;
};

ComparisonTable line_data(const LinePlot &plot) {
    ComparisonTable table;
    for (const PlotLine &line : plot.lines) {
        for (size_t i = 0; i < line.x.size(); ++i) {
            add_row({{"line", line.name},
                     {"plan", line.labels[i]},
                     {plot.x.label, exact_text(line.x[i])},
                     {plot.y.label, exact_text(line.y[i])},
                     {"low", exact_text(line.low[i])},
                     {"high", exact_text(line.high[i])}},
                    table);
        }
    }
    return table;
}

Figure levels_figure(const Workshop &workshop, const LevelsPlot &what) {
    const Findings &findings = workshop.findings();
    LinePlot plot;
    plot.title = (what.is_perplexity ? "perplexity on C4: " : "five tasks: ") +
                 workshop.model().hparams().name;
    plot.x.label = what.is_by_speed ? "throughput over dense" : "effective sparsity, %";
    plot.y = {.label = what.is_perplexity ? "perplexity" : "mean of the tasks, %",
              .is_log = what.is_perplexity};
    for (const std::string &search : k_searches) {
        PlotLine line;
        line.name = search == "sleb" ? "SLEB" : "OrthoRank";
        line.colour = plot.lines.size();
        std::vector<std::string> plans = {"dense"};
        for (int percent : sparsity_levels()) {
            if (percent <= what.highest) {
                plans.push_back(level_plan(search, percent));
            }
        }
        for (const std::string &plan : plans) {
            const PlanFindings &found = findings.of(plan);
            const std::optional<double> speed =
                plan == "dense" ? std::optional<double>(1.0) : speed_up_of(found.speed);
            add_point(
                what.is_by_speed ? speed : std::optional(100.0 * found.plan.effective_sparsity()),
                what.is_perplexity ? perplexity_of(found) : scaled(mean_of(found.choices), 100),
                workshop.recipes().plan(plan).label, line);
        }
        plot.lines.push_back(std::move(line));
    }
    return {what.name, what.caption, line_plot_svg(plot), line_data(plot)};
}

void add_level_claims(const Workshop &workshop, bool with_accuracy, EntryResult &result) {
    for (int percent : {10, 20, 30}) {
        const std::string ours = level_plan("orthorank", percent);
        const std::string sleb = level_plan("sleb", percent);
        result.claims.push_back(lower_perplexity(workshop, ours, sleb, ""));
        if (with_accuracy) {
            result.claims.push_back(higher_accuracy(workshop, ours, sleb, ""));
        }
    }
    result.claims.push_back(
        lower_perplexity(workshop, "sleb-40", "orthorank-40", "at 40%, the paper's exception: "));
}

EntryResult figure_8(const Workshop &workshop) {
    EntryResult result;
    result.tables = {{"This model.", levels_table(workshop, false, 40)}};
    result.figures = {
        levels_figure(workshop, {"figure-8-perplexity",
                                 "Figure 8: perplexity on C4 against sparsity, with standard "
                                 "errors.",
                                 false, true, 40}),
        levels_figure(workshop, {"figure-8-tasks",
                                 "Figure 8: mean of the five tasks against sparsity, with standard "
                                 "errors.",
                                 false, false, 40})};
    add_level_claims(workshop, true, result);
    result.notes = {extent_of_perplexity(workshop), extent_of_tasks(workshop)};
    return result;
}

Claim speed_claim(const Workshop &workshop, int percent) {
    const Findings &findings = workshop.findings();
    Claim claim =
        tested_claim(fmt::format("OrthoRank {0}% is faster than SLEB {0}% (the paper: at least as "
                                 "fast)",
                                 percent),
                     faster(findings.of(level_plan("orthorank", percent)).speed,
                            findings.of(level_plan("sleb", percent)).speed),
                     "of the logarithm of the throughput");
    claim.is_timed = true;
    return claim;
}

EntryResult by_speed(const Workshop &workshop, const std::string &figure, int highest) {
    EntryResult result;
    result.tables = {{"This model.", levels_table(workshop, true, highest)}};
    for (bool is_perplexity : {true, false}) {
        result.figures.push_back(levels_figure(
            workshop, {fmt::format("figure-{}-{}", figure, is_perplexity ? "perplexity" : "tasks"),
                       fmt::format("Figure {}: {} against the throughput over dense.", figure,
                                   is_perplexity ? "perplexity on C4" : "mean of the five tasks"),
                       true, is_perplexity, highest}));
    }
    for (int percent : {10, 20}) {
        result.claims.push_back(speed_claim(workshop, percent));
    }
    const Budget &budget = workshop.budget();
    result.notes = {
        extent_of_perplexity(workshop), extent_of_tasks(workshop),
        fmt::format("Throughput: prefill of {} random tokens, {} at once, medians of "
                    "{} repetitions beside the dense model.",
                    budget.speed_tokens, budget.n_speed_sequences, budget.n_speed_repetitions)};
    return result;
}

EntryResult figure_6(const Workshop &workshop) {
    EntryResult result = by_speed(workshop, "6", 40);
    add_level_claims(workshop, false, result);
    return result;
}

// By window, how much more the step from 40 to 50% costs than that from 30 to 40%.
std::optional<Estimate> rise(const Workshop &workshop, const std::string &search) {
    const Findings &findings = workshop.findings();
    const std::vector<double> &at_30 = findings.of(level_plan(search, 30)).window_nlls;
    const std::vector<double> &at_40 = findings.of(level_plan(search, 40)).window_nlls;
    const std::vector<double> &at_50 = findings.of(level_plan(search, 50)).window_nlls;
    if (at_50.empty()) {
        return {};
    }
    std::vector<double> steps;
    for (size_t i = 0; i < at_50.size(); ++i) {
        steps.push_back((at_50[i] - at_40[i]) - (at_40[i] - at_30[i]));
    }
    return estimate_mean(steps);
}

EntryResult figure_14(const Workshop &workshop) {
    EntryResult result = by_speed(workshop, "14", 50);
    for (const std::string &search : k_searches) {
        result.claims.push_back(tested_claim(
            fmt::format("{}: the logarithm of the perplexity rises more from 40 to 50% than from "
                        "30 to 40% (a sharp rise at 50%)",
                        search == "sleb" ? "SLEB" : "OrthoRank"),
            rise(workshop, search), k_nats));
    }
    return result;
}

Needs figure_7_needs(const Workshop &workshop) {
    Needs needs;
    needs.add(Measure::perplexity, "dense");
    needs.add(Measure::choices, "dense");
    for (const std::string &plan : workshop.recipes().tradeoff()) {
        needs.add(Measure::perplexity, plan);
        needs.add(Measure::choices, plan);
    }
    return needs;
}

// The fraction of the rows that the plan's changed layers compute.
double ratio_of(const Plan &plan) {
    const std::vector<int> layers = plan.layers_with(Action::select);
    return layers.empty() ? 0.0 : plan.layers[static_cast<size_t>(layers.front())].ratio;
}

// By window the mean loss of the plans above a half minus that of the others.
std::optional<Estimate> low_ratios_are_better(const Workshop &workshop) {
    std::vector<double> low;
    std::vector<double> high;
    size_t n_low = 0;
    size_t n_high = 0;
    for (const std::string &name : workshop.recipes().tradeoff()) {
        const PlanFindings &found = workshop.findings().of(name);
        const bool is_high = ratio_of(found.plan) > 0.5 + 1e-9;
        std::vector<double> &sums = is_high ? high : low;
        ++(is_high ? n_high : n_low);
        sums.resize(found.window_nlls.size());
        for (size_t i = 0; i < sums.size(); ++i) {
            sums[i] += found.window_nlls[i];
        }
    }
    if (low.empty() || high.empty() || low.size() != high.size()) {
        return {};
    }
    for (size_t i = 0; i < low.size(); ++i) {
        low[i] /= static_cast<double>(n_low);
        high[i] /= static_cast<double>(n_high);
    }
    return estimate_paired_difference(high, low);
}

// Of Figure 7: a point a plan.
Figure tradeoff_figure(const Workshop &workshop, bool is_perplexity) {
    LinePlot plot;
    plot.title = "one sparsity, 20%: " + workshop.model().hparams().name;
    plot.x.label = "fraction of the tokens that changed layers compute";
    plot.y = {.label = is_perplexity ? "perplexity" : "mean of the tasks, %",
              .is_log = is_perplexity};
    PlotLine line;
    line.name = is_perplexity ? "perplexity on C4" : "mean of the five tasks";
    for (const std::string &name : workshop.recipes().tradeoff()) {
        const PlanFindings &found = workshop.findings().of(name);
        add_point(ratio_of(found.plan),
                  is_perplexity ? perplexity_of(found) : scaled(mean_of(found.choices), 100),
                  workshop.recipes().plan(name).label, line);
    }
    plot.lines = {line};
    return {is_perplexity ? "figure-7-perplexity" : "figure-7-tasks",
            is_perplexity ? "Figure 7: perplexity at 20%, from few layers removed (0) to many that "
                            "compute most tokens."
                          : "Figure 7: mean of the five tasks at 20%, likewise.",
            line_plot_svg(plot), line_data(plot)};
}

EntryResult figure_7(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    for (const std::string &name : workshop.recipes().tradeoff()) {
        Cells cells = plan_cells(workshop, name);
        add_perplexity(workshop, name, cells);
        add_mean(workshop, name, cells);
        add_row(cells, table);
    }
    result.tables = {{"This model.", table}};
    result.figures = {tradeoff_figure(workshop, true), tradeoff_figure(workshop, false)};
    result.claims = {
        tested_claim("at 20%, ratios from 0 to 0.5 lose less than larger ones in more layers "
                     "(means of both groups)",
                     low_ratios_are_better(workshop), k_nats),
        lower_perplexity(workshop, "orthorank-20", "sleb-20",
                         "token selection and not layers alone: "),
    };
    result.notes = {extent_of_perplexity(workshop), extent_of_tasks(workshop),
                    "The grid is ours (scaled from that for 40 layers); each point has a search of "
                    "its own."};
    return result;
}

}  // namespace

std::vector<Entry> sparsity_entries() {
    return {
        {"fig6",
         {"figure6"},
         "Figure 6: quality against throughput",
         figure_6_needs,
         figure_6,
         true},
        {"fig7", {"figure7"}, "Figure 7: tokens or layers, at 20%", figure_7_needs, figure_7},
        {"fig8", {"figure8"}, "Figure 8: quality against sparsity", figure_8_needs, figure_8},
        {"fig14",
         {"figure14"},
         "Figure 14: quality against throughput, to 50%",
         figure_14_needs,
         figure_14,
         true},
    };
}

}  // namespace orthorank
