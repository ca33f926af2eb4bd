#include "base/strict_json.h"

#include <set>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;
using Event = Json::parse_event_t;

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

    template <typename AnyJson>
    void see(Event event, const AnyJson &parsed) {
        switch (event) {
            case Event::object_start:
            case Event::array_start:
                keys_.emplace_back();
                if (keys_.size() > k_max_depth) {
                    fail(ErrorKind::format, "{}: nested deeper than {} levels", name_, k_max_depth);
                }
                break;
            case Event::object_end:
            case Event::array_end:
                keys_.pop_back();
                break;
            case Event::key: {
                const std::string &key = parsed.template get_ref<const std::string &>();
                if (!keys_.back().insert(key).second) {
                    fail(ErrorKind::format, "{}: key {} occurs twice in one object", name_,
                         in_quotes(key));
                }
                break;
            }
            case Event::value:
                break;
        }
    }

 private:
    const std::string &name_;
    std::vector<std::set<std::string>> keys_;  // one set per open object or array
};

template <typename AnyJson>
AnyJson parse_strictly(std::string_view text, const std::string &name, std::string_view what) {
    StrictParsing strict(name);
    try {
        return AnyJson::parse(text, [&strict](int, auto event, AnyJson &parsed) {
            strict.see(event, parsed);
            return true;
        });
    } catch (const nlohmann::json::exception &error) {
        fail(ErrorKind::format, "{}: not {}: {}", name, what, reason_of(error));
    }
}

}  // namespace

Json parse_json(std::string_view text, const std::string &name, std::string_view what) {
    return parse_strictly<Json>(text, name, what);
}

nlohmann::json parse_request_json(std::string_view text, const std::string &name) {
    return parse_strictly<nlohmann::json>(text, name, "JSON");
}

std::string in_quotes(std::string_view text) {
    const bool is_long = text.size() > k_max_quote;
    const Json json = std::string(text.substr(0, k_max_quote));
    // ASCII only: a cut or broken UTF-8 sequence becomes a replacement character's escape.
    const std::string result = json.dump(-1, ' ', true, Json::error_handler_t::replace);
    return is_long ? result + "..." : result;
}

}  // namespace orthorank
