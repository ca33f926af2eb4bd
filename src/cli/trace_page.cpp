#include "cli/trace_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/heat_map.h"
#include "report/page.h"
#include "report/svg.h"
#include "select/selection.h"

namespace orthorank {

namespace {

constexpr double k_none = std::numeric_limits<double>::quiet_NaN();

// What a policy's score is, and whether it spans powers of ten.
struct ScoreName {
    const char *name;
    bool is_log;
};

ScoreName score_name(ScoreKind kind) {
    switch (kind) {
        case ScoreKind::inner:
            return {"|<a_0, a_i>|", true};
        case ScoreKind::inner_raw:
            return {"|<h_0, h_i>|", true};
        case ScoreKind::cosine:
            return {"|cosine|", false};
        case ScoreKind::norm:
            return {"|a_i|", true};
        case ScoreKind::attention:
            return {"attention", true};
        case ScoreKind::query:
            return {"attention of the last rows", true};
        case ScoreKind::attention_output:
            return {"|attention output|", true};
        case ScoreKind::probe:
            return {"gain", false};
        case ScoreKind::hash:
            return {"hash", false};
        case ScoreKind::inherit:
            break;
    }
    return {"none", false};
}

bool is_better(PickOrder order, float a, float b) {
    return order == PickOrder::smallest ? a < b : a > b;
}

// The place of a position i >= 1 among the first n_competing, from 1; the sink is not counted.
size_t rank_of(const TraceLayer &layer, const LayerPlan &plan, size_t i, size_t n_competing) {
    size_t rank = 1;
    for (size_t j = 1; j < n_competing; ++j) {
        const bool is_tie_before = j < i && layer.scores[j] == layer.scores[i];
        rank += j != i && (is_better(plan.policy.order, layer.scores[j], layer.scores[i]) ||
                           is_tie_before)
                    ? 1
                    : 0;
    }
    return rank;
}

// The rows of a prompt that are computed in any case.
size_t first_kept(const TraceResult &result) {
    return result.n_prompt - std::min(result.n_prompt, static_cast<size_t>(result.plan.keep_last));
}

bool applies_to(const TraceResult &result, size_t i) {
    const bool is_prompt = i < result.n_prompt;
    return result.plan.apply == Apply::both || (result.plan.apply == Apply::prefill) == is_prompt;
}

// Why a row was computed or not.
std::string rule_of(const TraceResult &result, const TraceLayer &layer, size_t i) {
    const LayerPlan &plan = result.plan.layers[static_cast<size_t>(layer.index)];
    if (!applies_to(result, i)) {
        return "the plan does not apply to this phase";
    }
    if (plan.policy.score == ScoreKind::inherit) {
        return fmt::format("as layer {} decided", result.plan.inherited_from(layer.index));
    }
    if (i < result.n_prompt && i >= first_kept(result)) {
        return "among the last rows of the prompt, which are kept";
    }
    if (i == 0) {
        return "the sink comes last in every order";
    }
    const size_t n = i < result.n_prompt ? first_kept(result) : i + 1;
    return fmt::format(
        "rank {} of {} ({} first), {} {}", rank_of(layer, plan, i, n), n - 1,
        plan.policy.order == PickOrder::smallest ? "smallest" : "largest",
        n_selected(plan.ratio, static_cast<int64_t>(n)),
        i < result.n_prompt ? "of the prompt are computed" : "of all so far would be computed");
}

std::string quoted(const std::string &piece) {
    return nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string token_name(const TraceResult &result, size_t i) {
    return fmt::format("{} {}{}", i, quoted(result.pieces[i]), i == 0 ? " (sink)" : "");
}

// One cell: its colour's number, its mark, and what hovering shows.
void add_cell(const TraceResult &result, const TraceLayer &layer, size_t i, HeatMap &map) {
    const LayerPlan &plan = result.plan.layers[static_cast<size_t>(layer.index)];
    const double score = i == 0 ? k_none : static_cast<double>(layer.scores[i]);
    const bool is_computed = layer.is_computed(static_cast<int32_t>(i));
    const bool is_corrected = !is_computed && i > 0 && plan.correction != nullptr;
    map.values.push_back(
        score_name(plan.policy.score).is_log ? score > 0 ? std::log10(score) : k_none : score);
    map.marks.push_back(is_computed    ? CellMark::dot
                        : is_corrected ? CellMark::ring
                        : i == 0       ? CellMark::cross
                                       : CellMark::none);
    map.hovers.push_back(fmt::format("token {}{}\n{}: score {}, {}", quoted(result.pieces[i]),
                                     i == 0 ? ", the sink" : "",
                                     is_computed    ? "computed"
                                     : is_corrected ? "corrected"
                                                    : "left as it is",
                                     value_text(score), rule_of(result, layer, i)));
}

std::string map_svg(const TraceResult &result, const std::vector<const TraceLayer *> &layers) {
    const LayerPlan &first = result.plan.layers[static_cast<size_t>(layers.front()->index)];
    const ScoreName score = score_name(first.policy.score);
    HeatMap map;
    map.title = fmt::format("{}, policy {}", result.plan.name, policy_name(first.policy));
    map.x_label = "layer";
    map.y_label = "token";
    map.value_label = fmt::format("{}{}", score.is_log ? "log10 " : "", score.name);
    map.n_columns = layers.size();
    map.n_rows = result.tokens.size();
    map.cell_height = 16;
    for (const TraceLayer *layer : layers) {
        map.column_names.push_back(std::to_string(layer->index));
    }
    for (size_t i = 0; i < map.n_rows; ++i) {
        map.row_names.push_back(token_name(result, i));
        for (const TraceLayer *layer : layers) {
            add_cell(result, *layer, i, map);
        }
    }
    return heat_map_svg(map);
}

ComparisonTable layer_table(const TraceResult &result) {
    ComparisonTable table;
    for (const TraceLayer &layer : result.layers) {
        const LayerPlan &plan = result.plan.layers[static_cast<size_t>(layer.index)];
        add_row({{"layer", std::to_string(layer.index)},
                 {"policy", std::string(policy_name(plan.policy))},
                 {"ratio", fmt::format("{:g}", plan.ratio)},
                 {"computed", fmt::format("{} of {}", layer.rows.size(), layer.scores.size())},
                 {"the rest", plan.correction != nullptr ? "corrected" : "left as it is"}},
                table);
    }
    return table;
}

}  // namespace

std::string trace_page(const TraceResult &result, const std::string &command) {
    Page page("Trace of " + result.plan.name);
    page.command(command);
    page.text(fmt::format(
        "{} tokens, the first {} as a prompt. A dot: computed in that layer; a ring: corrected in "
        "its place; a cross: the sink, which is left; nothing: left as it is. Layers that are not "
        "shown compute every token, or are removed ({}).",
        result.tokens.size(), result.n_prompt,
        result.plan.layers_with(Action::skip).empty()
            ? "none"
            : fmt::format("{}", fmt::join(result.plan.layers_with(Action::skip), ", "))));
    std::vector<std::vector<const TraceLayer *>> maps;  // by policy
    for (const TraceLayer &layer : result.layers) {
        const auto policy = [&](const TraceLayer &l) {
            return result.plan.layers[static_cast<size_t>(l.index)].policy;
        };
        auto map = std::find_if(maps.begin(), maps.end(), [&](const auto &layers) {
            return policy(*layers.front()) == policy(layer);
        });
        if (map == maps.end()) {
            map = maps.insert(map, std::vector<const TraceLayer *>{});
        }
        map->push_back(&layer);
    }
    for (const std::vector<const TraceLayer *> &layers : maps) {
        page.figure(map_svg(result, layers), "The score of each token in each selecting layer.");
    }
    page.table(layer_table(result));
    return page.html();
}

}  // namespace orthorank
