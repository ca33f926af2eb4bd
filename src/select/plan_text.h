// The text side of plan files: JSON in and out. Internal to select/; callers use plan.h. Pure
// functions, thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace orthorank {

// Parses a plan file's text. Stricter than the JSON library: a key that occurs twice in an object
// and nesting deeper than 64 are refused. Throws Error{format} naming `name` and the position.
nlohmann::ordered_json parse_plan_text(std::string_view text, const std::string &name);

// The file's text for a plan's JSON: indented, one layer a line.
std::string plan_text(const nlohmann::ordered_json &json);

// A string from a file, made fit for a one-line message: JSON quotes and escapes, at most 60
// characters of it.
std::string in_quotes(std::string_view text);

}  // namespace orthorank
