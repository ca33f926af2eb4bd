#include "analysis/analysis_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "report/json_text.h"
#include "report/svg.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

std::string layer_text(const std::optional<int> &il) {
    return il ? std::to_string(*il) : "none";
}

Json statement_json(const Statement &statement) {
    Json numbers = Json::object();
    for (const auto &[name, value] : statement.numbers) {
        numbers[name] = value;
    }
    return {{"name", statement.name},
            {"text", statement.text},
            {"outcome", outcome_text(statement)},
            {"numbers", numbers}};
}

Json gradient_json(const GradientCheck &check) {
    return {{"largest_error", check.largest_error},
            {"cosine_gradient", check.cosine_gradient},
            {"inner_cosine", check.inner_cosine},
            {"inner_gradient", check.inner_gradient},
            {"overlap_cosine_gradient", check.overlap_cosine_gradient},
            {"overlap_inner_cosine", check.overlap_inner_cosine}};
}

Json layer_json(const LayerStates &layer, size_t il) {
    Json policies = Json::object();
    for (const PolicyAgreement &agreement : layer.agreements) {
        policies[agreement.policy] = {{"correlation", agreement.correlation},
                                      {"overlap", agreement.overlap}};
    }
    return {{"layer", il},
            {"sink_peak", layer.sink_peak},
            {"median_magnitude", layer.median_magnitude},
            {"massive_positions", layer.massive_positions},
            {"mean_sink_cosine", layer.mean_sink_cosine()},
            {"sink_cosines", layer.sink_cosines},
            {"norms", layer.norms},
            {"mean_sink_attention", layer.mean_sink_attention()},
            {"sink_attention", layer.sink_attention},
            {"norm_weight_variance", layer.norm_weight_variance},
            {"sink_scaling_cosine", layer.sink_scaling_cosine},
            {"mean_scaling_cosine", layer.mean_scaling_cosine},
            {"gradient", gradient_json(layer.gradient)},
            {"policies", policies}};
}

// A cell of a figure's data: a whole number, a number, a text; null where it is empty.
Json cell_json(const std::string &cell) {
    const char *const end = cell.data() + cell.size();
    int64_t integer = 0;
    double number = 0;
    if (cell.empty()) {
        return nullptr;
    }
    if (std::from_chars(cell.data(), end, integer).ptr == end) {
        return integer;
    }
    return std::from_chars(cell.data(), end, number).ptr == end ? Json(number) : Json(cell);
}

// Every row of the data as an object.
Json figure_json(const Figure &figure) {
    Json rows = Json::array();
    for (const std::vector<std::string> &cells : figure.data.rows) {
        Json row = Json::object();
        for (size_t i = 0; i < cells.size(); ++i) {
            row[figure.data.header[i]] = cell_json(cells[i]);
        }
        rows.push_back(row);
    }
    return {{"name", figure.name}, {"caption", figure.caption}, {"rows", rows}};
}

Json sweep_json(const LayerSweep &sweep) {
    Json curves = Json::array();
    const double dense = std::exp(sweep.dense_loss);
    for (const SweepCurve &curve : sweep.curves) {
        Json perplexities = Json::array(), differences = Json::array();
        for (double loss : curve.losses) {
            perplexities.push_back(std::exp(loss));
            differences.push_back(std::exp(loss) - dense);
        }
        curves.push_back(
            {{"change", curve.name}, {"perplexities", perplexities}, {"over_dense", differences}});
    }
    return {{"dense_perplexity", dense}, {"curves", curves}};
}

std::string numbers_text(const Statement &statement) {
    std::string text;
    for (const auto &[name, value] : statement.numbers) {
        std::string words = name;
        std::replace(words.begin(), words.end(), '_', ' ');
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", words, value_text(value));
    }
    return text;
}

ComparisonTable layer_table(const TextStates &states) {
    ComparisonTable table;
    for (size_t il = 0; il < states.layers.size(); ++il) {
        const LayerStates &layer = states.layers[il];
        add_row({{"layer", std::to_string(il)},
                 {"largest value of row 0", value_text(layer.sink_peak)},
                 {"median of all", value_text(layer.median_magnitude)},
                 {"massive elsewhere", fmt::format("{}", fmt::join(layer.massive_positions, " "))},
                 {"mean cosine with row 0", value_text(layer.mean_sink_cosine())},
                 {"attention on key 0", value_text(layer.mean_sink_attention())},
                 {"variance of the norm's weight", value_text(layer.norm_weight_variance)},
                 {"cosine before and after it, row 0", value_text(layer.sink_scaling_cosine)},
                 {"others", value_text(layer.mean_scaling_cosine)}},
                table);
    }
    return table;
}

}  // namespace

Analysis make_analysis(TextStates states, std::optional<LayerSweep> sweep,
                       const std::string &model) {
    Analysis analysis;
    analysis.states = std::move(states);
    analysis.sweep = std::move(sweep);
    analysis.sink = find_sink(analysis.states);
    analysis.statements = tested_statements(analysis.states, analysis.sink);
    analysis.figures = analysis_figures(analysis.states, analysis.sink, model);
    if (analysis.sweep) {
        analysis.figures.push_back(sweep_figure(*analysis.sweep, analysis.sink, model));
    }
    return analysis;
}

void add_analysis_json(const Analysis &analysis, Json &json) {
    json["n_tokens"] = analysis.states.n_tokens;
    json["ratio"] = analysis.states.ratio;
    json["l_sink"] = {{"layer", analysis.sink.l_sink()},
                      {"by_activation", optional_json(analysis.sink.by_activation)},
                      {"by_cosine", analysis.sink.by_cosine},
                      {"by_attention", optional_json(analysis.sink.by_attention)}};
    json["statements"] = Json::array();
    for (const Statement &statement : analysis.statements) {
        json["statements"].push_back(statement_json(statement));
    }
    json["sweep"] = analysis.sweep ? sweep_json(*analysis.sweep) : Json(nullptr);
    json["results"] = Json::array();
    for (size_t il = 0; il < analysis.states.layers.size(); ++il) {
        json["results"].push_back(layer_json(analysis.states.layers[il], il));
    }
    json["figures"] = Json::array();
    for (const Figure &figure : analysis.figures) {
        json["figures"].push_back(figure_json(figure));
    }
}

ComparisonTable sink_table(const Analysis &analysis) {
    const SinkLayers &sink = analysis.sink;
    ComparisonTable table;
    const auto add = [&](const char *signal, const std::string &layer) {
        add_row({{"signal", signal}, {"l_sink", layer}}, table);
    };
    add("A: massive activation of the first row, to the end", layer_text(sink.by_activation));
    add("B: largest fall of the mean cosine with the first row", layer_text(sink.by_cosine));
    add("C: attention on the first key above 0.3", layer_text(sink.by_attention));
    add(sink.by_activation ? "used: A" : "used: B, as there is no A", layer_text(sink.l_sink()));
    return table;
}

ComparisonTable statement_table(const std::vector<Statement> &statements) {
    ComparisonTable table;
    for (const Statement &statement : statements) {
        add_row({{"statement", statement.name},
                 {"outcome", outcome_text(statement)},
                 {"numbers", numbers_text(statement)}},
                table);
    }
    return table;
}

Page analysis_page(const Analysis &analysis, const std::string &model, const std::string &text,
                   const std::string &command) {
    Page page("Analysis of " + model);
    page.command(command);
    page.text(
        fmt::format("One dense pass over the first {} tokens of {}, line ends removed. "
                    "Layers are counted from 0, and a layer stands for the rows that enter "
                    "it, after its attention norm.",
                    analysis.states.n_tokens, text));
    page.heading("l_sink");
    page.table(sink_table(analysis));
    page.heading("Statements");
    page.table(statement_table(analysis.statements));
    for (const Statement &statement : analysis.statements) {
        page.text(statement.name + ". " + statement.text);
    }
    page.heading("Figures");
    for (const Figure &figure : analysis.figures) {
        page.figure(figure.svg, figure.caption, figure.name + ".svg");
    }
    page.heading("Layers");
    page.table(layer_table(analysis.states));
    return page;
}

}  // namespace orthorank
