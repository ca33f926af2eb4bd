// Plans as JSON. The reader: select/plan_json.cpp.
#include <algorithm>

#include "base/error.h"
#include "select/plan.h"
#include "select/plan_format.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

Json layer_to_json(int il, const LayerPlan &layer) {
    Json json = {{"index", il}};
    const auto add_correction = [&] {
        if (layer.correction != nullptr) {
            json["correction"] = {{"rank", layer.correction->rank}};
        }
    };
    if (layer.action == Action::skip) {
        json["action"] = "skip";
        add_correction();
        return json;
    }
    json["action"] = "select";
    if (layer.policy.score != ScoreKind::inherit) {
        json["ratio"] = layer.ratio;
    }
    json["policy"] = policy_name(layer.policy);
    if (layer.policy.score == ScoreKind::hash) {
        json["seed"] = layer.policy.seed;
    }
    if (layer.policy.score == ScoreKind::query) {
        json["window"] = layer.policy.window;
    }
    add_correction();
    return json;
}

Json loss_to_json(const PlanLoss &loss) {
    Json json = {{"text", loss.text},   {"windows", loss.n_windows},
                 {"n_ctx", loss.n_ctx}, {"continuation", loss.n_continuation},
                 {"ratio", loss.ratio}, {"se", loss.se}};
    const auto add = [&json](const char *key, const std::string &text) {
        if (!text.empty()) {
            json[key] = text;
        }
    };
    add("weights", loss.weights);
    add("date", loss.date);
    add("version", loss.version);
    return json;
}

// The oldest version that can say what the plan has.
int64_t version_of(const Plan &plan) {
    const bool has_late_policy =
        std::any_of(plan.layers.begin(), plan.layers.end(), [](const LayerPlan &layer) {
            return layer.action == Action::select && needs_prompt_version(layer.policy.score);
        });
    if (has_late_policy || plan.apply != Apply::both || plan.keep_last > 0 ||
        !plan.losses.empty()) {
        return k_prompt_version;
    }
    return plan.has_numbers() ? k_numbers_version : k_plain_version;
}

}  // namespace

Json plan_to_json(const Plan &plan, const PlanTensors &tensors) {
    Json model = Json::object();
    if (!plan.model_name.empty()) {
        model["name"] = plan.model_name;
    }
    model["n_layers"] = plan.n_layers();
    if (!plan.fingerprint.empty()) {
        model["fingerprint"] = plan.fingerprint;
    }
    Json layers = Json::array();
    for (int il = 0; il < plan.n_layers(); ++il) {
        if (plan.layers[il].action != Action::dense) {
            layers.push_back(layer_to_json(il, plan.layers[il]));
        }
    }
    const bool has_numbers = plan.has_numbers();
    Json json = {{"format", k_plan_format}, {"version", version_of(plan)}};
    if (has_numbers && !tensors.file.empty()) {
        json["tensors"] = tensors.file;
    }
    if (has_numbers && !tensors.hash.empty()) {
        json["tensors_hash"] = tensors.hash;
    }
    if (plan.apply != Apply::both) {
        json["apply"] = apply_name(plan.apply);
    }
    if (plan.keep_last > 0) {
        json["keep_last"] = plan.keep_last;
    }
    json["model"] = std::move(model);
    json["layers"] = std::move(layers);
    for (const PlanLoss &loss : plan.losses) {
        json["measured"].push_back(loss_to_json(loss));
    }
    if (!plan.provenance.is_null()) {
        CHECK(plan.provenance.is_object());
        json["provenance"] = plan.provenance;
    }
    return json;
}

}  // namespace orthorank
