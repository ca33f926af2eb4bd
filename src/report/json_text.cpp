#include "report/json_text.h"

namespace orthorank {

namespace {

std::string dumped(const nlohmann::ordered_json &json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Indented, with lists of plain values on one line: a trace has thousands of scores. `newline` is
// a line end and the present indentation.
void append_json(const nlohmann::ordered_json &json, const std::string &newline,
                 std::string &text) {
    bool is_nested = false;
    for (const nlohmann::ordered_json &value : json) {
        is_nested = is_nested || value.is_structured();
    }
    if (!json.is_structured() || json.empty() || (json.is_array() && !is_nested)) {
        text += dumped(json);
        return;
    }
    const std::string inner = newline + "  ";
    text += json.is_object() ? '{' : '[';
    for (auto item = json.begin(); item != json.end(); ++item) {
        text += item == json.begin() ? inner : "," + inner;
        if (json.is_object()) {
            text += dumped(item.key()) + ": ";
        }
        append_json(*item, inner, text);
    }
    text += newline + (json.is_object() ? '}' : ']');
}

}  // namespace

std::string json_text(const nlohmann::ordered_json &json) {
    std::string text;
    append_json(json, "\n", text);
    return text + "\n";
}

}  // namespace orthorank
