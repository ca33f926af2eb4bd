// Plots of a benchmark.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/statistics.h"
#include "report/plot.h"
#include "timing/bench_report.h"

namespace orthorank {

namespace {

constexpr double k_none = std::numeric_limits<double>::quiet_NaN();

bool removes_layers(const Plan &plan) {
    return !plan.layers_with(Action::skip).empty();
}

// Prompts where there are any, else decodes.
Phase phase_drawn(std::span<const BenchShape> shapes) {
    const bool has_prefill = std::any_of(shapes.begin(), shapes.end(), [](const BenchShape &shape) {
        return shape.phase == Phase::prefill;
    });
    return has_prefill ? Phase::prefill : Phase::decode;
}

int n_tokens_of(const BenchShape &shape) {
    return shape.phase == Phase::prefill ? shape.n_tokens : shape.depth;
}

const char *label_of(ScaleAxis axis, Phase phase) {
    return axis == ScaleAxis::sequences          ? "sequences"
           : axis == ScaleAxis::selecting_layers ? "selecting layers"
           : phase == Phase::prefill             ? "tokens"
                                                 : "tokens before";
}

double x_of(ScaleAxis axis, const BenchRow &row) {
    const BenchShape &shape = row.result->shape;
    return axis == ScaleAxis::tokens      ? n_tokens_of(shape)
           : axis == ScaleAxis::sequences ? shape.n_sequences
                                          : static_cast<double>(n_selecting_layers(row.arm->plan));
}

// What the rows that are drawn have several of, beside the axis.
struct Variety {
    std::set<int> batches;
    std::set<bool> takes_token;  // prompts, and times to the first token
};

Variety variety_of(std::span<const BenchShape> shapes, Phase phase) {
    Variety variety;
    for (const BenchShape &shape : shapes) {
        if (shape.phase == phase) {
            variety.batches.insert(shape.n_sequences);
            variety.takes_token.insert(shape.takes_token);
        }
    }
    return variety;
}

// What stays the same along a line; rows of one name are points of one line.
std::string name_of(ScaleAxis axis, const BenchRow &row, const Variety &variety) {
    const BenchShape &shape = row.result->shape;
    const std::string arms =
        axis == ScaleAxis::selecting_layers ? "dense and plans" : row.arm->name;
    const bool says_batch = axis == ScaleAxis::tokens && variety.batches.size() > 1;
    const std::string name = says_batch ? fmt::format("{} x {}", shape.n_sequences, arms) : arms;
    return variety.takes_token.size() > 1 ? fmt::format("{}, {}", phase_text(shape), name) : name;
}

// What a scale plot draws of a row: solid and dashed.
struct Heights {
    double found = k_none;
    double expected = k_none;
};

// Both lines of one name, through the points in order of x.
void add_lines(const std::string &name, size_t colour,
               std::vector<std::pair<double, Heights>> points, LinePlot &plot) {
    std::stable_sort(points.begin(), points.end(),
                     [](const auto &a, const auto &b) { return a.first < b.first; });
    PlotLine found{.name = name, .x = {}, .y = {}, .colour = colour};
    PlotLine expected{.name = "", .x = {}, .y = {}, .is_dashed = true, .colour = colour};
    for (const auto &[x, heights] : points) {
        found.x.push_back(x);
        found.y.push_back(heights.found);
        expected.x.push_back(x);
        expected.y.push_back(heights.expected);
    }
    plot.lines.push_back(std::move(found));
    plot.lines.push_back(std::move(expected));
}

std::string scale_plot_svg(const BenchReport &report, const std::string &title,
                           const std::string &y_label, Heights (*heights_of)(const BenchRow &)) {
    CHECK(report.axis.has_value());
    const ScaleAxis axis = *report.axis;
    std::vector<BenchShape> shapes;
    for (const BenchRow &row : report.rows) {
        shapes.push_back(row.result->shape);
    }
    const Phase phase = phase_drawn(shapes);
    const Variety variety = variety_of(shapes, phase);
    LinePlot plot;
    plot.y = {.label = y_label, .is_log = true};
    std::vector<std::pair<std::string, std::vector<std::pair<double, Heights>>>> lines;
    std::optional<int> n_decoded;  // of several numbers of decoded tokens the first is drawn
    for (const BenchRow &row : report.rows) {
        const BenchShape &shape = row.result->shape;
        const bool counts_layers = axis == ScaleAxis::selecting_layers;
        if (shape.phase != phase ||
            (counts_layers && (row.arm->is_libllama || removes_layers(row.arm->plan)))) {
            continue;
        }
        if (phase == Phase::decode && n_decoded.value_or(shape.n_tokens) != shape.n_tokens) {
            continue;
        }
        n_decoded = shape.n_tokens;
        plot.x.ticks.push_back(x_of(axis, row));
        const Heights heights = heights_of(row);
        if (!std::isfinite(heights.found)) {
            continue;
        }
        const std::string name = name_of(axis, row, variety);
        auto line = std::find_if(lines.begin(), lines.end(),
                                 [&](const auto &known) { return known.first == name; });
        if (line == lines.end()) {
            line = lines.insert(line, {name, {}});
        }
        line->second.emplace_back(x_of(axis, row), heights);
    }
    plot.title = fmt::format("{}: {} {}", title, report.model, report.type_in_use);
    plot.x.label = label_of(axis, phase);
    for (size_t i = 0; i < lines.size(); ++i) {
        add_lines(lines[i].first, i, std::move(lines[i].second), plot);
    }
    std::sort(plot.x.ticks.begin(), plot.x.ticks.end());
    plot.x.ticks.erase(std::unique(plot.x.ticks.begin(), plot.x.ticks.end()), plot.x.ticks.end());
    // A logarithm has no place for a depth of 0.
    plot.x.is_log =
        axis != ScaleAxis::selecting_layers && !plot.x.ticks.empty() && plot.x.ticks.front() > 0;
    return line_plot_svg(plot);
}

}  // namespace

size_t n_selecting_layers(const Plan &plan) {
    return plan.layers_with(Action::select).size();
}

std::optional<ScaleAxis> scale_axis(std::span<const BenchShape> shapes,
                                    std::span<const NamedArm> arms) {
    const Phase phase = phase_drawn(shapes);
    std::set<int> lengths, batches;
    for (const BenchShape &shape : shapes) {
        if (shape.phase == phase) {
            lengths.insert(n_tokens_of(shape));
            batches.insert(shape.n_sequences);
        }
    }
    std::set<size_t> layers;
    for (const NamedArm &arm : arms) {
        if (!arm.is_libllama && !removes_layers(arm.plan)) {
            layers.insert(n_selecting_layers(arm.plan));
        }
    }
    return lengths.size() > 1   ? std::optional(ScaleAxis::tokens)
           : batches.size() > 1 ? std::optional(ScaleAxis::sequences)
           : layers.size() > 1  ? std::optional(ScaleAxis::selecting_layers)
                                : std::nullopt;
}

std::string bench_bars_svg(const BenchReport &report) {
    BarPlot plot;
    plot.title = fmt::format("speed over dense: {} {}", report.model, report.file_type);
    plot.label = "times dense";
    plot.mark_names = {"cost model", "time bound"};
    for (const BenchRow &row : report.rows) {
        if (row.dense == nullptr || row.dense == row.result) {
            continue;
        }
        const SpeedRatio ratio = speed_ratio(*row.dense, *row.result);
        Bar bar;
        bar.name = shape_text(row.result->shape) + ", " + row.arm->name;
        bar.value = ratio.median;
        bar.low = ratio.low;
        bar.high = ratio.high;
        bar.marks = {row.bound.value_or(k_none), row.time_bound.value_or(k_none)};
        bar.colour = row.arm->is_libllama ? 2 : row.result->arm % 2;
        plot.bars.push_back(std::move(bar));
    }
    return bar_plot_svg(plot);
}

std::string bench_scale_svg(const BenchReport &report) {
    return scale_plot_svg(
        report, "seconds of a run, dashed: predicted from the smallest", "seconds",
        [](const BenchRow &row) {
            return Heights{median(row.result->seconds), row.predicted_seconds.value_or(k_none)};
        });
}

std::string bench_memory_svg(const BenchReport &report) {
    constexpr double k_mib = 1 << 20;
    return scale_plot_svg(
        report, "memory beside the weights, dashed: the KV cache", "MiB", [](const BenchRow &row) {
            const std::optional<Engine::MemoryUse> &use = row.result->facts.memory;
            return use ? Heights{static_cast<double>(bytes_beside_weights(*use)) / k_mib,
                                 static_cast<double>(use->kv_bytes) / k_mib}
                       : Heights{};
        });
}

}  // namespace orthorank
