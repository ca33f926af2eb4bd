// JSON as it is written. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace orthorank {

// Indented, with lists of plain values on one line, and a line end. What is not UTF-8 becomes
// U+FFFD (base/utf8.h); numbers that JSON lacks become null.
std::string json_text(const nlohmann::ordered_json &json);

// null where there is nothing.
template <typename T>
nlohmann::ordered_json optional_json(const std::optional<T> &value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace orthorank
