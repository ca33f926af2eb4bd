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
    plan.keep_last = best->keep_last;
    plan.provenance["keep_last"] = best->keep_last;
    plan.provenance["keep_last_choices"] = std::move(json);
}

}  // namespace orthorank
