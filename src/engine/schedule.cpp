#include "engine/schedule.h"

#include <algorithm>

#include "base/error.h"

namespace orthorank {

namespace {

enum class Use { dense, skip, rows };

Use layer_use(std::span<const Plan *const> plans, int il) {
    const Action first = plans.front()->layers[il].action;
    for (const Plan *plan : plans) {
        const LayerPlan &layer = plan->layers[il];
        if (layer.action != first ||
            (layer.action == Action::skip && layer.correction != nullptr)) {
            return Use::rows;
        }
    }
    return first == Action::dense ? Use::dense : first == Action::skip ? Use::skip : Use::rows;
}

bool is_removed_for_all(std::span<const Plan *const> plans, int il) {
    return std::all_of(plans.begin(), plans.end(),
                       [il](const Plan *plan) { return plan->layers[il].action == Action::skip; });
}

}  // namespace

Schedule make_schedule(std::span<const Plan *const> plans, int first_layer, int end_layer,
                       std::span<const int> cuts, int tail_begin) {
    CHECK(!plans.empty() && 0 <= first_layer && first_layer <= end_layer);
    Schedule schedule;
    Segment segment;
    for (int il = first_layer; il < end_layer; ++il) {
        const bool is_cut = std::find(cuts.begin(), cuts.end(), il) != cuts.end();
        const Use use = layer_use(plans, il);
        if (use == Use::rows || is_cut) {
            segment.end_layer = il;
            const bool has_scores = use == Use::rows && !is_removed_for_all(plans, il);
            segment.score_layer = has_scores ? il : -1;
            schedule.segments.push_back(segment);
            segment = Segment{};
            segment.row_layer = use == Use::rows ? il : -1;
        }
        if (use == Use::dense) {
            segment.dense_layers.push_back(il);
        }
        const bool is_last = il < tail_begin || use == Use::rows || schedule.last_layer < 0;
        if (use != Use::skip && is_last) {
            schedule.last_layer = il;
        }
    }
    segment.end_layer = end_layer;
    schedule.segments.push_back(segment);
    return schedule;
}

}  // namespace orthorank
