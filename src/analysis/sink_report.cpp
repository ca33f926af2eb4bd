#include "analysis/sink_report.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

namespace {

constexpr const char *k_instead =
    "select rows by a fitted probe instead (select-layers --correct 64 --policy probe)";

// Cosines of position 0 between every two layers from `first` on.
void measure_constancy(const TextStates &states, size_t first, SinkReport &report) {
    std::vector<double> cosines;
    for (size_t il = first; il < states.layers.size(); ++il) {
        for (size_t other = il + 1; other < states.layers.size(); ++other) {
            cosines.push_back(states.cosine_across(0, il, other));
        }
    }
    if (!cosines.empty()) {
        report.mean_cosine = mean(std::span<const double>(cosines));
        report.smallest_cosine = *std::min_element(cosines.begin(), cosines.end());
    }
}

void measure_sizes(const TextStates &states, size_t first, SinkReport &report) {
    std::vector<double> peaks;
    std::vector<double> over_median;
    std::vector<double> attention;
    for (size_t il = first; il < states.layers.size(); ++il) {
        const LayerStates &layer = states.layers[il];
        peaks.push_back(layer.sink_peak);
        over_median.push_back(layer.median_magnitude > 0 ? layer.sink_peak / layer.median_magnitude
                                                         : 0);
        attention.push_back(layer.mean_sink_attention());
    }
    const auto [low, high] = std::minmax_element(peaks.begin(), peaks.end());
    const auto [least, most] = std::minmax_element(over_median.begin(), over_median.end());
    report.growth = *low > 0 ? *high / *low : 1;
    report.smallest_over_median = *least;
    report.largest_over_median = *most;
    report.attention = mean(std::span<const double>(attention));
}

void find_others(const TextStates &states, size_t first, std::span<const int32_t> tokens,
                 SinkReport &report) {
    std::map<int, int> n_layers;
    for (size_t il = first; il < states.layers.size(); ++il) {
        for (const int position : states.layers[il].massive_positions) {
            n_layers[position] += 1;
        }
    }
    for (const auto &[position, n] : n_layers) {
        report.others.push_back({position, n, tokens[static_cast<size_t>(position)]});
    }
    std::stable_sort(report.others.begin(), report.others.end(),
                     [](const auto &a, const auto &b) { return a.n_layers > b.n_layers; });
}

void judge(size_t n_layers, SinkReport &report) {
    if (!report.layers.by_activation && report.attention < k_sink_attention) {
        report.warnings.push_back(fmt::format(
            "position 0 is no sink: no massive activation that lasts and {:.0f}% of the attention, "
            "so similarity to it need not say which rows matter: {}",
            100 * report.attention, k_instead));
    } else if (static_cast<size_t>(report.first) + 1 >= n_layers) {
        report.warnings.push_back(fmt::format(
            "position 0 is a sink in the last layer alone, layer {}, behind which there "
            "is none to select in: {}",
            report.first, k_instead));
    }
    if (report.mean_cosine && *report.mean_cosine < k_constant_cosine) {
        report.warnings.push_back(fmt::format(
            "position 0 is not constant behind layer {} (mean cosine {:.2f} between layers, below "
            "{}): {}",
            report.first, *report.mean_cosine, k_constant_cosine, k_instead));
    }
    const auto n_lasting = std::count_if(
        report.others.begin(), report.others.end(),
        [](const MassivePosition &other) { return other.n_layers >= k_few_massive_layers; });
    if (n_lasting > 0) {
        report.warnings.push_back(fmt::format(
            "{} other position{} a massive activation too: selection by the first token may pick "
            "or leave out such rows; compare with a fitted probe (select-layers --correct 64 "
            "--policy probe)",
            n_lasting, n_lasting == 1 ? " has" : "s have"));
    }
}

}  // namespace

SinkReport sink_report(const TextStates &states, std::span<const int32_t> tokens) {
    CHECK(states.layers.size() >= 2 && tokens.size() == states.n_tokens);
    SinkReport report;
    report.layers = find_sink(states);
    report.first = report.layers.by_activation.value_or(
        report.layers.by_attention.value_or(report.layers.by_cosine));
    const auto first = static_cast<size_t>(report.first);
    measure_constancy(states, first, report);
    measure_sizes(states, first, report);
    find_others(states, first, tokens, report);
    judge(states.layers.size(), report);
    return report;
}

SinkReport measure_sink(Engine &engine, std::span<const int32_t> tokens,
                        const std::function<bool()> &should_stop) {
    TextStatesOptions options;
    options.ratio = 0.333;
    options.kept_positions = {0};
    options.should_stop = should_stop;
    return sink_report(text_states(engine, tokens, options), tokens);
}

}  // namespace orthorank
