// What searches of every kind say of themselves, in a plan's provenance and in the key of a partial
// file (docs/formats.md). Functions on plain data.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "select/policy.h"

namespace orthorank {

// Keys policy, and seed or window where it has one.
void describe_policy(nlohmann::ordered_json &json, const Policy &policy);
// The policy that these keys say; nothing where they do not say one that is known.
std::optional<Policy> described_policy(const nlohmann::ordered_json &json);

// "inherit": true where selecting layers behind the first one take its rows.
void describe_inheritance(nlohmann::ordered_json &json, bool inherits);

// What a search for the continuation says in a file; nothing for n_continuation 0.
void describe_objective(nlohmann::ordered_json &json, int n_continuation, int keep_last);

// The windows, of what read_calibration says of them: what a search on them depends on.
void describe_windows(nlohmann::ordered_json &json, const nlohmann::ordered_json &calibration);

}  // namespace orthorank
