#include "calibration/kept_rows.h"

#include "base/error.h"
#include "calibration/partial_file.h"

namespace orthorank {

using Json = nlohmann::ordered_json;

void keep_cheapest(Plan &plan, const std::vector<KeptRows> &choices) {
    CHECK(!choices.empty());
    const KeptRows *best = &choices.front();
    Json json = Json::array();
    for (const KeptRows &choice : choices) {
        const bool is_better = choice.cost < best->cost ||
                               (choice.cost == best->cost && choice.keep_last < best->keep_last);
        best = is_better ? &choice : best;
        json.push_back({{"keep_last", choice.keep_last}, {"cost", json_number(choice.cost)}});
    }
    keep_other_rows(plan, best->keep_last);
    plan.provenance["searched_keep_last"] = choices.front().keep_last;
    plan.provenance["keep_last_choices"] = std::move(json);
    if (plan.provenance.contains("plan_loss")) {
        plan.provenance["plan_loss"] = json_number(best->cost);
    }
}

void keep_other_rows(Plan &plan, int keep_last) {
    plan.keep_last = keep_last;
    Json &json = plan.provenance;
    if (json.is_object() && json.contains("keep_last") && json.at("keep_last") != keep_last) {
        if (!json.contains("searched_keep_last")) {
            json["searched_keep_last"] = json.at("keep_last");
        }
        json["keep_last"] = keep_last;
    }
}

void forget_costs(Plan &plan) {
    if (plan.provenance.is_object()) {
        plan.provenance.erase("keep_last_choices");
        plan.provenance.erase("plan_loss");
    }
}

}  // namespace orthorank
