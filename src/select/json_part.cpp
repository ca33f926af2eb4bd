#include "select/json_part.h"

#include <algorithm>

#include "base/error.h"
#include "base/strict_json.h"

namespace orthorank {

std::string text_of_value(const nlohmann::ordered_json &value) {
    if (value.is_string()) {
        return in_quotes(value.get_ref<const std::string &>());
    }
    if (value.is_object()) {
        return "an object";
    }
    if (value.is_array()) {
        return "a list";
    }
    return value.is_number_float() && !(value.get<double>() == value.get<double>()) ? "NaN"
                                                                                    : value.dump();
}

void check_keys(const JsonPart &part, std::initializer_list<std::string_view> known) {
    for (const auto &[key, value] : part.json.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            fail(ErrorKind::format, "{}: unknown key {} (known: {})", part.where, in_quotes(key),
                 fmt::join(known, ", "));
        }
    }
}

[[noreturn]] void fail_type(const JsonPart &part, const char *key, const char *expected) {
    fail(ErrorKind::format, "{}: \"{}\" must be {}, found {}", part.where, key, expected,
         text_of_value(part.json.at(key)));
}

void check_present(const JsonPart &part, const char *key) {
    if (!part.has(key)) {
        fail(ErrorKind::format, "{}: \"{}\" is missing", part.where, key);
    }
}

std::string text_value(const JsonPart &part, const char *key) {
    check_present(part, key);
    const nlohmann::ordered_json &value = part.json.at(key);
    if (!value.is_string()) {
        fail_type(part, key, "a string");
    }
    return value.get<std::string>();
}

std::string optional_text(const JsonPart &part, const char *key) {
    return part.has(key) ? text_value(part, key) : std::string();
}

int64_t integer_value(const JsonPart &part, const char *key) {
    check_present(part, key);
    const nlohmann::ordered_json &value = part.json.at(key);
    const bool is_too_large = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
    if (!value.is_number_integer() || is_too_large) {
        fail_type(part, key, "a whole number");
    }
    return value.get<int64_t>();
}

JsonPart object_value(const JsonPart &part, const char *key) {
    check_present(part, key);
    if (!part.json.at(key).is_object()) {
        fail_type(part, key, "an object");
    }
    return {part.json.at(key), fmt::format("{}: {}", part.where, key)};
}

double number_value(const JsonPart &part, const char *key, double min, double max,
                    const char *expected) {
    check_present(part, key);
    const nlohmann::ordered_json &value = part.json.at(key);
    if (!value.is_number()) {
        fail_type(part, key, expected);
    }
    const double number = value.get<double>();
    if (!(number >= min && number <= max)) {  // NaN too
        fail_type(part, key, expected);
    }
    return number == 0.0 ? 0.0 : number;  // no -0
}

std::vector<JsonPart> objects_value(const JsonPart &part, const char *key) {
    check_present(part, key);
    const nlohmann::ordered_json &entries = part.json.at(key);
    if (!entries.is_array()) {
        fail_type(part, key, "a list");
    }
    std::vector<JsonPart> parts;
    for (size_t i = 0; i < entries.size(); ++i) {
        parts.push_back({entries[i], fmt::format("{}: {}[{}]", part.where, key, i)});
        if (!entries[i].is_object()) {
            fail(ErrorKind::format, "{}: must be an object, found {}", parts.back().where,
                 text_of_value(entries[i]));
        }
    }
    return parts;
}

}  // namespace orthorank
