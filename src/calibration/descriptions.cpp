#include "calibration/descriptions.h"

#include <algorithm>
#include <string>

namespace orthorank {

using Json = nlohmann::ordered_json;

void describe_policy(Json &json, const Policy &policy) {
    json["policy"] = policy_name(policy);
    if (policy.score == ScoreKind::hash) {
        json["seed"] = policy.seed;
    }
    if (policy.score == ScoreKind::query) {
        json["window"] = policy.window;
    }
}

std::optional<Policy> described_policy(const Json &json) {
    if (!json.contains("policy") || !json.at("policy").is_string()) {
        return {};
    }
    const auto name = json.at("policy").get<std::string>();
    const auto names = policy_names();
    if (std::find(names.begin(), names.end(), name) == names.end()) {
        return {};
    }
    Policy policy = policy_from_name(name);
    if (json.contains("seed") && json.at("seed").is_number_unsigned()) {
        policy.seed = json.at("seed").get<uint64_t>();
    }
    if (policy.score == ScoreKind::query && json.contains("window")) {
        const Json &window = json.at("window");
        if (!window.is_number_unsigned() || window.get<uint64_t>() - 1 > INT32_MAX - 1u) {
            return {};
        }
        policy.window = window.get<int>();
    }
    return policy;
}

void describe_inheritance(Json &json, bool inherits) {
    if (inherits) {
        json["inherit"] = true;
    }
}

void describe_objective(Json &json, int n_continuation, int keep_last) {
    if (n_continuation == 0) {
        return;
    }
    json["objective"] = "continuation";
    json["continuation"] = n_continuation;
    json["keep_last"] = keep_last;
}

void describe_windows(Json &json, const Json &calibration) {
    for (const char *key : {"seqlen", "windows", "hash"}) {
        json[key] = calibration.at(key);
    }
    // It decides in which order they are measured.
    if (calibration.contains("retrieval")) {
        json["retrieval"] = calibration.at("retrieval");
    }
}

}  // namespace orthorank
