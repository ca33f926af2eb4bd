#include "report/trace_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/heat_map.h"
#include "report/svg.h"
#include "select/selection.h"

namespace orthorank {

namespace {

constexpr size_t k_strip = 36;  // tokens side by side: what a drawing of the usual width holds
constexpr double k_cell_side = 16;
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
    return fmt::format("{} {}{}", i, i == 0 ? "sink " : "", quoted(result.pieces[i]));
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
    map.hovers.push_back(fmt::format("{}: score {}, {}",
                                     is_computed    ? "computed"
                                     : is_corrected ? "corrected"
                                                    : "left as it is",
                                     value_text(score), rule_of(result, layer, i)));
}

HeatMap map_of(const TraceResult &result, const std::vector<const TraceLayer *> &layers,
               size_t n_tokens) {
    const LayerPlan &first = result.plan.layers[static_cast<size_t>(layers.front()->index)];
    const ScoreName score = score_name(first.policy.score);
    HeatMap map;
    map.title = fmt::format("{}, policy {}", result.plan.name, policy_name(first.policy));
    map.x_label = "token";
    map.y_label = "layer";
    map.value_label = fmt::format("{}{}", score.is_log ? "log10 " : "", score.name);
    map.n_columns = n_tokens;
    map.n_rows = layers.size();
    map.cell_side = k_cell_side;
    map.has_upright_names = true;
    for (size_t i = 0; i < n_tokens; ++i) {
        map.column_names.push_back(token_name(result, i));
    }
    for (const TraceLayer *layer : layers) {
        map.row_names.push_back(std::to_string(layer->index));
        for (size_t i = 0; i < n_tokens; ++i) {
            add_cell(result, *layer, i, map);
        }
    }
    return map;
}

// Scores of different policies share no scale.
std::vector<std::vector<const TraceLayer *>> layers_by_policy(const TraceResult &result) {
    std::vector<std::vector<const TraceLayer *>> groups;
    for (const TraceLayer &layer : result.layers) {
        const auto policy = [&](const TraceLayer &l) {
            return result.plan.layers[static_cast<size_t>(l.index)].policy;
        };
        auto group = std::find_if(groups.begin(), groups.end(), [&](const auto &layers) {
            return policy(*layers.front()) == policy(layer);
        });
        if (group == groups.end()) {
            group = groups.insert(group, std::vector<const TraceLayer *>{});
        }
        group->push_back(&layer);
    }
    return groups;
}

}  // namespace

std::string trace_map_legend(const TraceResult &result, size_t max_tokens) {
    const std::vector<int> removed = result.plan.layers_with(Action::skip);
    const std::string shown = result.tokens.size() > max_tokens
                                  ? fmt::format(" The first {} are shown.", max_tokens)
                                  : "";
    return fmt::format(
        "{} tokens, the first {} as a prompt.{} A dot: computed in that layer; a ring: corrected "
        "in its place; a cross: the sink, which is left; nothing: left as it is. Layers that are "
        "not shown compute every token, or are removed ({}).",
        result.tokens.size(), result.n_prompt, shown,
        removed.empty() ? "none" : fmt::format("{}", fmt::join(removed, ", ")));
}

std::vector<std::string> trace_maps(const TraceResult &result, size_t max_tokens) {
    std::vector<std::string> drawings;
    const size_t n_tokens = std::min(result.tokens.size(), max_tokens);
    for (const std::vector<const TraceLayer *> &layers : layers_by_policy(result)) {
        for (const HeatMap &strip : strips_of(map_of(result, layers, n_tokens), k_strip)) {
            drawings.push_back(heat_map_svg(strip));
        }
    }
    return drawings;
}

}  // namespace orthorank
