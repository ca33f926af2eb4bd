#include "select/plan_text.h"

#include <fmt/format.h>

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

std::string dump_line(const Json &json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string plan_text(const Json &json) {
    std::string text = "{\n";
    size_t n_written = 0;
    for (const auto &[key, value] : json.items()) {
        text += fmt::format("  {}: ", dump_line(key));
        if ((key == "layers" || key == "measured") && !value.empty()) {
            text += "[\n";
            for (size_t i = 0; i < value.size(); ++i) {
                text +=
                    fmt::format("    {}{}\n", dump_line(value[i]), i + 1 < value.size() ? "," : "");
            }
            text += "  ]";
        } else {
            text += dump_line(value);
        }
        text += ++n_written < json.size() ? ",\n" : "\n";
    }
    return text + "}\n";
}

}  // namespace orthorank
