#include "base/strict_json.h"

#include <set>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t k_max_depth = 64;  // the JSON library writes and destroys by recursion
constexpr size_t k_max_quote = 60;
constexpr size_t k_max_reason = 200;

// What the JSON library says, without its "[json.exception.parse_error.101] " and of bounded
// length (it quotes the token that it stopped at).
std::string reason_of(const nlohmann::json::exception &error) {
    std::string reason = error.what();
    const size_t end_of_tag = reason.find("] ");
    if (end_of_tag != std::string::npos) {
        reason.erase(0, end_of_tag + 2);
    }
    return reason.size() <= k_max_reason ? reason : reason.substr(0, k_max_reason) + "...";
}

// Sees every event of the parser and refuses what the library would let pass.
class StrictParsing {
 public:
    explicit StrictParsing(const std::string &name) : name_(name) {}

    void see(Json::parse_event_t event, const Json &parsed) {
        switch (event) {
            case Json::parse_event_t::object_start:
            case Json::parse_event_t::array_start:
                keys_.emplace_back();
                if (keys_.size() > k_max_depth) {
                    fail(ErrorKind::format, "{}: nested deeper than {} levels", name_, k_max_depth);
                }
                break;
            case Json::parse_event_t::object_end:
            case Json::parse_event_t::array_end:
                keys_.pop_back();
                break;
            case Json::parse_event_t::key: {
                const std::string &key = parsed.get_ref<const std::string &>();
                if (!keys_.back().insert(key).second) {
                    fail(ErrorKind::format, "{}: key {} occurs twice in one object", name_,
                         in_quotes(key));
                }
                break;
            }
            case Json::parse_event_t::value:
                break;
        }
    }

 private:
    const std::string &name_;
    std::vector<std::set<std::string>> keys_;  // one set per open object or array
};

}  // namespace

Json parse_json(std::string_view text, const std::string &name, std::string_view what) {
    StrictParsing strict(name);
    try {
        return Json::parse(text, [&strict](int, Json::parse_event_t event, Json &parsed) {
            strict.see(event, parsed);
            return true;
        });
    } catch (const nlohmann::json::exception &error) {
        fail(ErrorKind::format, "{}: not {}: {}", name, what, reason_of(error));
    }
}

std::string in_quotes(std::string_view text) {
    const bool is_long = text.size() > k_max_quote;
    const Json json = std::string(text.substr(0, k_max_quote));
    // ASCII only: a cut or broken UTF-8 sequence becomes a replacement character's escape.
    const std::string result = json.dump(-1, ' ', true, Json::error_handler_t::replace);
    return is_long ? result + "..." : result;
}

}  // namespace orthorank
