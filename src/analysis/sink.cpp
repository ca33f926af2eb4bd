#include "analysis/sink.h"

#include <algorithm>
#include <cmath>

#include "analysis/row_orders.h"
#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

namespace {

// Layers behind l_sink, as numbers of the layers whose input is meant.
struct Behind {
    size_t first;
    size_t n_layers;

    size_t size() const { return first < n_layers ? n_layers - first : 0; }
};

Behind behind(const TextStates &states, const SinkLayers &sink) {
    return {static_cast<size_t>(sink.l_sink()) + 1, states.layers.size()};
}

// Cosines of one position's states in all pairs of layers, and how far the layers are apart.
struct AcrossLayers {
    std::vector<double> cosines;
    std::vector<double> distances;
};

AcrossLayers across_layers(const TextStates &states, int position, const Behind &layers) {
    AcrossLayers pairs;
    for (size_t il = layers.first; il < layers.n_layers; ++il) {
        for (size_t other = il + 1; other < layers.n_layers; ++other) {
            pairs.cosines.push_back(states.cosine_across(position, il, other));
            pairs.distances.push_back(static_cast<double>(other - il));
        }
    }
    return pairs;
}

Statement observation_1(const TextStates &states, const Behind &layers) {
    Statement statement{"Observation 1",
                        "Right behind l_sink the other rows are further from the sink than in the "
                        "last layer: of more than half of the positions the cosine is not above "
                        "that of the last layer.",
                        {},
                        {}};
    if (layers.size() < 2) {
        return statement;
    }
    const std::vector<double> &first = states.layers[layers.first].sink_cosines;
    const std::vector<double> &last = states.layers.back().sink_cosines;
    double n_rising = 0;
    for (size_t i = 1; i < states.n_tokens; ++i) {
        n_rising += first[i] <= last[i] ? 1 : 0;
    }
    const double share = n_rising / static_cast<double>(states.n_tokens - 1);
    statement.holds = share > 0.5;
    statement.numbers = {{"share_of_positions", share},
                         {"mean_cosine_behind_l_sink", mean(std::span(first).subspan(1))},
                         {"mean_cosine_in_the_last_layer", mean(std::span(last).subspan(1))}};
    return statement;
}

Statement rising_cosines(const TextStates &states, const Behind &layers) {
    Statement statement{"Observation 1, by layer",
                        "The cosine with the sink rises with depth: its Spearman correlation with "
                        "the layer, behind l_sink, is above 0 in the mean over positions.",
                        {},
                        {}};
    if (layers.size() < 3) {
        return statement;
    }
    std::vector<double> depths, correlations;
    for (size_t il = layers.first; il < layers.n_layers; ++il) {
        depths.push_back(static_cast<double>(il));
    }
    for (size_t i = 1; i < states.n_tokens; ++i) {
        std::vector<double> cosines;
        for (size_t il = layers.first; il < layers.n_layers; ++il) {
            cosines.push_back(states.layers[il].sink_cosines[i]);
        }
        correlations.push_back(rank_correlation(depths, cosines));
    }
    const double average = mean(std::span(correlations));
    statement.holds = average > 0;
    statement.numbers = {{"mean_correlation", average}, {"median", median(correlations)}};
    return statement;
}

Statement observation_2(const TextStates &states, const Behind &layers) {
    Statement statement{"Observation 2",
                        "Behind l_sink the sink's state stays what it is, the others' do not: the "
                        "mean cosine between layers is larger of position 0 than of position 50.",
                        {},
                        {}};
    if (layers.size() < 2) {
        return statement;
    }
    const AcrossLayers sink = across_layers(states, 0, layers);
    const AcrossLayers other = across_layers(states, 50, layers);
    const double mean_0 = mean(std::span(sink.cosines));
    const double mean_50 = mean(std::span(other.cosines));
    statement.holds = mean_0 > mean_50;
    statement.numbers = {
        {"mean_of_position_0", mean_0},
        {"smallest_of_position_0", *std::min_element(sink.cosines.begin(), sink.cosines.end())},
        {"mean_of_position_50", mean_50},
        {"smallest_of_position_50", *std::min_element(other.cosines.begin(), other.cosines.end())}};
    return statement;
}

Statement moving_states(const TextStates &states, const Behind &layers) {
    Statement statement{"Observation 2, by distance",
                        "The others move with every layer: the cosine between layers falls with "
                        "their distance (Spearman below 0), at positions 50 and 100.",
                        {},
                        {}};
    if (layers.size() < 3) {
        return statement;
    }
    std::vector<double> correlations;
    for (int position : {50, 100}) {
        const AcrossLayers pairs = across_layers(states, position, layers);
        correlations.push_back(rank_correlation(pairs.distances, pairs.cosines));
    }
    statement.holds = correlations[0] < 0 && correlations[1] < 0;
    statement.numbers = {{"correlation_of_position_50", correlations[0]},
                         {"correlation_of_position_100", correlations[1]}};
    return statement;
}

// A mean over the layers that are meant.
template <typename ValueOf>
std::vector<double> by_layer(const TextStates &states, const Behind &layers, ValueOf value_of) {
    std::vector<double> values;
    for (size_t il = layers.first; il < layers.n_layers; ++il) {
        values.push_back(value_of(states.layers[il]));
    }
    return values;
}

Statement equation_1(const TextStates &states) {
    const Behind all{0, states.layers.size()};
    const std::vector<double> errors = by_layer(
        states, all, [](const LayerStates &layer) { return layer.gradient.largest_error; });
    const double largest = *std::max_element(errors.begin(), errors.end());
    return {
        "Equation 1",
        "The gradient of the cosine by a row is (u_sink - cos u_row) / |row|: within 1e-4 / |row| "
        "of finite differences on the model's own rows.",
        largest < 1e-4,
        {{"largest_distance", largest}}};
}

// Of one correlation of GradientCheck, behind l_sink.
Statement agreement(const TextStates &states, const Behind &layers, Statement statement,
                    double GradientCheck::*correlation, double GradientCheck::*overlap) {
    if (layers.size() == 0) {
        return statement;
    }
    const std::vector<double> correlations = by_layer(
        states, layers, [=](const LayerStates &layer) { return layer.gradient.*correlation; });
    const std::vector<double> overlaps =
        by_layer(states, layers, [=](const LayerStates &layer) { return layer.gradient.*overlap; });
    statement.holds = mean(std::span(correlations)) > 0.9;
    statement.numbers = {
        {"mean_correlation", mean(std::span(correlations))},
        {"smallest_correlation", *std::min_element(correlations.begin(), correlations.end())},
        {"mean_overlap", mean(std::span(overlaps))}};
    return statement;
}

Statement scaling(const TextStates &states) {
    const Behind all{0, states.layers.size()};
    const std::vector<double> variances =
        by_layer(states, all, [](const LayerStates &layer) { return layer.norm_weight_variance; });
    const std::vector<double> others =
        by_layer(states, all, [](const LayerStates &layer) { return layer.mean_scaling_cosine; });
    const std::vector<double> sinks =
        by_layer(states, all, [](const LayerStates &layer) { return layer.sink_scaling_cosine; });
    return {"Appendix C.1",
            "The norm's weight hardly turns a row: its cosine before and after is above 0.95 in "
            "the mean over layers and positions but the sink.",
            mean(std::span(others)) > 0.95,
            {{"mean_cosine", mean(std::span(others))},
             {"mean_cosine_of_the_sink", mean(std::span(sinks))},
             {"mean_variance_of_the_weight", mean(std::span(variances))}}};
}

Statement attention_on_sink(const TextStates &states, const Behind &layers) {
    Statement statement{"Attention sink",
                        "Behind l_sink the first key gets more than 0.3 of the attention of the "
                        "other rows, in the mean over layers and heads.",
                        {},
                        {}};
    if (layers.size() > 0) {
        const std::vector<double> shares = by_layer(
            states, layers, [](const LayerStates &layer) { return layer.mean_sink_attention(); });
        statement.holds = mean(std::span(shares)) > k_sink_attention;
        statement.numbers = {{"mean_share", mean(std::span(shares))}};
    }
    return statement;
}

}  // namespace

SinkLayers find_sink(const TextStates &states) {
    const std::vector<LayerStates> &layers = states.layers;
    CHECK(layers.size() >= 2);
    SinkLayers sink;
    for (size_t il = layers.size(); il > 0; --il) {
        if (!is_massive(layers[il - 1].sink_peak, layers[il - 1].median_magnitude)) {
            break;
        }
        sink.by_activation = static_cast<int>(il) - 1;
    }
    double largest_fall = -2;  // of cosines
    for (size_t il = 1; il < layers.size(); ++il) {
        const double fall = layers[il - 1].mean_sink_cosine() - layers[il].mean_sink_cosine();
        if (fall > largest_fall) {
            largest_fall = fall;
            sink.by_cosine = static_cast<int>(il);
        }
    }
    for (size_t il = 0; il < layers.size() && !sink.by_attention; ++il) {
        if (layers[il].mean_sink_attention() > k_sink_attention) {
            sink.by_attention = static_cast<int>(il);
        }
    }
    return sink;
}

std::vector<Statement> tested_statements(const TextStates &states, const SinkLayers &sink) {
    const Behind layers = behind(states, sink);
    return {observation_1(states, layers),
            rising_cosines(states, layers),
            observation_2(states, layers),
            moving_states(states, layers),
            equation_1(states),
            agreement(states, layers,
                      {"Equation 2",
                       "Rows of nearly equal length: ordering by the gradient's length is "
                       "ordering by 1 - cos^2 (mean Spearman correlation behind l_sink above 0.9).",
                       {},
                       {}},
                      &GradientCheck::cosine_gradient, &GradientCheck::overlap_cosine_gradient),
            agreement(states, layers,
                      {"Equation 3",
                       "The inner product orders rows as the cosine does (mean Spearman "
                       "correlation behind l_sink above 0.9).",
                       {},
                       {}},
                      &GradientCheck::inner_cosine, &GradientCheck::overlap_inner_cosine),
            scaling(states),
            attention_on_sink(states, layers)};
}

const char *outcome_text(const Statement &statement) {
    return !statement.holds ? "not tested" : *statement.holds ? "holds" : "does not hold";
}

}  // namespace orthorank
