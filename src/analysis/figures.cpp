#include "analysis/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "report/heat_map.h"
#include "report/numbers_text.h"
#include "report/plot.h"
#include "report/sphere.h"
#include "report/svg.h"

namespace orthorank {

namespace {

constexpr double k_none = std::numeric_limits<double>::quiet_NaN();

std::vector<double> numbered(size_t n) {
    std::vector<double> numbers;
    for (size_t i = 0; i < n; ++i) {
        numbers.push_back(static_cast<double>(i));
    }
    return numbers;
}

// A line per name over the layers, and its data.
Figure by_layer(Figure figure, LinePlot plot, const SinkLayers &sink) {
    const size_t n_layers = plot.lines.front().y.size();
    plot.x.label = "layer (its input)";
    plot.shades.push_back({sink.l_sink() + 0.5, static_cast<double>(n_layers), "behind l_sink"});
    for (size_t i = 0; i < plot.lines.size(); ++i) {
        plot.lines[i].x = numbered(n_layers);
        plot.lines[i].colour = i;
        plot.lines[i].is_dashed = plot.lines[i].is_dashed || i >= k_n_series_colours;
    }
    for (size_t il = 0; il < n_layers; ++il) {
        Cells cells = {{"layer", std::to_string(il)}};
        for (const PlotLine &line : plot.lines) {
            cells.emplace_back(line.name, exact_text(line.y[il]));
        }
        add_row(cells, figure.data);
    }
    figure.svg = line_plot_svg(plot);
    return figure;
}

// Cosines of a position with others against the layer.
Figure cosine_figure(const TextStates &states, const SinkLayers &sink, int position,
                     const std::vector<int> &others, Figure figure, const std::string &title) {
    LinePlot plot;
    plot.title = title;
    plot.y.label = fmt::format("cosine with position {}", position);
    for (int other : others) {
        PlotLine line;
        line.name = fmt::format("position {}", other);
        for (size_t il = 0; il < states.layers.size(); ++il) {
            line.y.push_back(states.cosine(il, position, other));
        }
        plot.lines.push_back(std::move(line));
    }
    return by_layer(std::move(figure), std::move(plot), sink);
}

std::vector<int> kept_among(const TextStates &states, const std::vector<int> &positions) {
    std::vector<int> kept;
    std::copy_if(positions.begin(), positions.end(), std::back_inserter(kept),
                 [&](int position) { return states.kept.count(position) != 0; });
    return kept;
}

std::vector<int> range(int first, int last) {
    std::vector<int> positions;
    for (int i = first; i <= last; ++i) {
        positions.push_back(i);
    }
    return positions;
}

void add_cosine_figures(const TextStates &states, const SinkLayers &sink, const std::string &model,
                        std::vector<Figure> &figures) {
    figures.push_back(cosine_figure(
        states, sink, 0, range(1, 10),
        {"figure-2", "Figure 2 (a, d): cosine of the first row with rows 1 to 10.", "", {}},
        "the first row and rows 1 to 10: " + model));
    for (int position : {0, 50}) {
        figures.push_back(cosine_figure(
            states, sink, position, range(91, 100),
            {fmt::format("figure-10-position-{}", position),
             fmt::format("Figure 10: cosine of row {} with rows 91 to 100.", position),
             "",
             {}},
            fmt::format("row {} and rows 91 to 100: {}", position, model)));
    }
    for (int position : kept_among(states, {0, 50, 500})) {
        figures.push_back(cosine_figure(
            states, sink, position, kept_among(states, {1, 10, 100, 1000}),
            {fmt::format("figure-11-position-{}", position),
             fmt::format("Figure 11: cosine of row {} with near and far rows.", position),
             "",
             {}},
            fmt::format("row {} and rows near and far: {}", position, model)));
    }
}

Figure sphere_figure(const TextStates &states, size_t il, const std::string &name,
                     const std::string &place) {
    SphereDrawing drawing;
    drawing.title = fmt::format("layer {}, {}", il, place);
    drawing.names = {"row 0", "row 1", "row 10"};
    drawing.cosines = {states.cosine(il, 0, 1), states.cosine(il, 0, 10), states.cosine(il, 1, 10)};
    Figure figure{name,
                  fmt::format("Figure 2 (b, c, e, f): directions of rows 0, 1 and 10, {}. Three "
                              "vectors span three dimensions: their angles are the model's, the "
                              "rotation is free.",
                              place),
                  sphere_svg(drawing),
                  {}};
    const auto vectors = vectors_of(drawing);
    for (size_t i = 0; i < vectors.size(); ++i) {
        add_row({{"row", drawing.names[i]},
                 {"x", exact_text(vectors[i][0])},
                 {"y", exact_text(vectors[i][1])},
                 {"z", exact_text(vectors[i][2])}},
                figure.data);
    }
    return figure;
}

void add_map_data(const HeatMap &map, const std::string &corner, Figure &figure) {
    for (size_t row = 0; row < map.n_rows; ++row) {
        Cells cells = {{corner, map.row_names.empty() ? std::to_string(row) : map.row_names[row]}};
        for (size_t column = 0; column < map.n_columns; ++column) {
            cells.emplace_back(
                map.column_names.empty() ? std::to_string(column) : map.column_names[column],
                exact_text(map.values[row * map.n_columns + column]));
        }
        add_row(cells, figure.data);
    }
}

Figure across_figure(const TextStates &states, const SinkLayers &sink, int position,
                     const std::string &model) {
    HeatMap map;
    map.title = fmt::format("row {} in two layers: {}", position, model);
    map.x_label = map.y_label = "layer (its input)";
    map.value_label = "cosine";
    map.n_columns = map.n_rows = states.layers.size();
    map.high = 1;
    map.box_from = static_cast<size_t>(sink.l_sink()) + 1;
    for (size_t il = 0; il < map.n_rows; ++il) {
        for (size_t other = 0; other < map.n_columns; ++other) {
            map.values.push_back(states.cosine_across(position, il, other));
        }
    }
    Figure figure{fmt::format("figure-{}-position-{}", position == 100 ? "9" : "3", position),
                  fmt::format("Figure{} 9: similarity of row {} in pairs of layers; the box has "
                              "those behind l_sink.",
                              position == 100 ? "" : "s 3 and", position),
                  heat_map_svg(map),
                  {}};
    add_map_data(map, "layer", figure);
    return figure;
}

Figure norm_figure(const TextStates &states, const SinkLayers &sink, const std::string &model) {
    LinePlot plot;
    plot.title = "lengths of normed rows: " + model;
    plot.y = {.label = "Euclidean norm", .is_log = true};
    std::vector<int> positions = range(91, 100);
    positions.insert(positions.begin(), 0);
    for (int position : positions) {
        PlotLine line;
        line.name = fmt::format("position {}", position);
        for (const LayerStates &layer : states.layers) {
            line.y.push_back(layer.norms[static_cast<size_t>(position)]);
        }
        plot.lines.push_back(std::move(line));
    }
    return by_layer({"figure-12",
                     "Figure 12: lengths of the first row and of rows 91 to 100 after "
                     "the attention norm.",
                     "",
                     {}},
                    std::move(plot), sink);
}

Figure attention_figure(const TextStates &states, const std::string &model) {
    HeatMap map;
    map.title = "attention that goes to the first key: " + model;
    map.x_label = "layer";
    map.y_label = "head";
    map.value_label = "share";
    map.low = 0;
    map.high = 1;
    map.n_columns = states.layers.size();
    for (const LayerStates &layer : states.layers) {
        map.n_rows = std::max(map.n_rows, layer.sink_attention.size());
    }
    for (size_t head = 0; head < map.n_rows; ++head) {
        for (const LayerStates &layer : states.layers) {
            map.values.push_back(head < layer.sink_attention.size() ? layer.sink_attention[head]
                                                                    : k_none);
        }
    }
    Figure figure{"attention-on-the-sink",
                  "Share of the attention of rows 1 and on that goes to the first key.",
                  heat_map_svg(map),
                  {}};
    add_map_data(map, "head", figure);
    return figure;
}

Figure agreement_figure(const TextStates &states, bool is_overlap, const std::string &model) {
    HeatMap map;
    map.title = fmt::format("policies and what the layer changes, {}: {}",
                            is_overlap ? "rows chosen by both" : "order of all rows", model);
    map.x_label = "layer";
    map.y_label = "policy";
    map.value_label = is_overlap ? "overlap" : "Spearman";
    map.is_diverging = !is_overlap;
    map.low = is_overlap ? 0 : -1;
    map.high = 1;
    map.n_columns = states.layers.size();
    for (const PolicyAgreement &agreement : states.layers.front().agreements) {
        map.row_names.push_back(agreement.policy);
    }
    map.n_rows = map.row_names.size();
    for (size_t policy = 0; policy < map.n_rows; ++policy) {
        for (const LayerStates &layer : states.layers) {
            const PolicyAgreement &agreement = layer.agreements[policy];
            map.values.push_back(is_overlap ? agreement.overlap : agreement.correlation);
        }
    }
    Figure figure{is_overlap ? "policy-overlap" : "policy-correlation",
                  is_overlap
                      ? fmt::format("Part of a policy's rows ({:g} of all) that are among as many "
                                    "that the layer changed most.",
                                    states.ratio)
                      : "Spearman correlation of a policy's order with the length of what the "
                        "layer changes in a row, |h' - h|.",
                  heat_map_svg(map),
                  {}};
    add_map_data(map, "policy", figure);
    return figure;
}

}  // namespace

std::vector<int> figure_positions() {
    std::set<int> positions = {0, 50, 100, 500, 1000};
    for (const std::vector<int> &more : {range(1, 10), range(91, 100)}) {
        positions.insert(more.begin(), more.end());
    }
    return {positions.begin(), positions.end()};
}

std::vector<Figure> analysis_figures(const TextStates &states, const SinkLayers &sink,
                                     const std::string &model) {
    const size_t last = states.layers.size() - 1;
    std::vector<Figure> figures;
    add_cosine_figures(states, sink, model, figures);
    figures.push_back(sphere_figure(states, std::min(last, static_cast<size_t>(sink.l_sink()) + 1),
                                    "figure-2-sphere-behind-sink", "right behind l_sink"));
    figures.push_back(sphere_figure(states, last, "figure-2-sphere-last", "at the end"));
    for (int position : {0, 50, 100}) {
        figures.push_back(across_figure(states, sink, position, model));
    }
    figures.push_back(norm_figure(states, sink, model));
    figures.push_back(attention_figure(states, model));
    figures.push_back(agreement_figure(states, false, model));
    figures.push_back(agreement_figure(states, true, model));
    return figures;
}

Figure sweep_figure(const LayerSweep &sweep, const SinkLayers &sink, const std::string &model) {
    LinePlot plot;
    plot.title = "one layer changed: " + model;
    plot.y = {.label = "perplexity", .is_log = true};
    const auto exps = [](const std::vector<double> &losses) {
        std::vector<double> values;
        for (double loss : losses) {
            values.push_back(std::exp(loss));
        }
        return values;
    };
    for (const SweepCurve &curve : sweep.curves) {
        plot.lines.push_back({.name = curve.name, .x = {}, .y = exps(curve.losses)});
    }
    const std::vector<double> dense(plot.lines.front().y.size(), sweep.dense_loss);
    plot.lines.push_back({.name = "dense", .x = {}, .y = exps(dense), .is_dashed = true});
    return by_layer({"figure-4",
                     "Figures 4 and 13: perplexity with exactly one layer selecting "
                     "(by the method, its reverse, at random) or removed.",
                     "",
                     {}},
                    std::move(plot), sink);
}

}  // namespace orthorank
