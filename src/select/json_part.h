// Strict reading of a JSON object: every value has the type that is expected, every key is known,
// and what is not so throws Error{format} that names the place. Used by the readers of plans.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// A JSON object together with the words that name it in messages, such as
// "plans/x.json: layer 13".
struct JsonPart {
    const nlohmann::ordered_json &json;
    std::string where;

    bool has(const char *key) const { return json.contains(key); }
};

// A short JSON text of a value that is not what it should be.
std::string text_of_value(const nlohmann::ordered_json &value);

void check_keys(const JsonPart &part, std::initializer_list<std::string_view> known);
[[noreturn]] void fail_type(const JsonPart &part, const char *key, const char *expected);
void check_present(const JsonPart &part, const char *key);

std::string text_value(const JsonPart &part, const char *key);
// Empty where there is none.
std::string optional_text(const JsonPart &part, const char *key);
int64_t integer_value(const JsonPart &part, const char *key);
// A number from min to max; `expected` says so in the message.
double number_value(const JsonPart &part, const char *key, double min, double max,
                    const char *expected);
JsonPart object_value(const JsonPart &part, const char *key);
// The objects of a list, each with its place.
std::vector<JsonPart> objects_value(const JsonPart &part, const char *key);

}  // namespace orthorank
