// The text of plan files. Internal to select/; callers use plan.h. Pure, thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace orthorank {

// The file's text for a plan's JSON: indented, one layer a line.
std::string plan_text(const nlohmann::ordered_json &json);

}  // namespace orthorank
