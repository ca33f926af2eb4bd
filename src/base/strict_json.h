// JSON out of files: the one parser of all that is read. Pure functions, thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace orthorank {

// Stricter than the JSON library: a key that occurs twice in an object, of which one would silently
// be lost, and nesting deeper than 64 are refused. Throws Error{format} naming `name` (of the file,
// or a line of it) and the position; `what` is what was expected to be there.
nlohmann::ordered_json parse_json(std::string_view text, const std::string &name,
                                  std::string_view what = "JSON");

// The same for what strangers send: objects are sorted by name, so that one with very many names
// takes no quadratic time.
nlohmann::json parse_request_json(std::string_view text, const std::string &name);

// A string from a file, made fit for a one-line message: JSON quotes and escapes, at most 60
// characters of it.
std::string in_quotes(std::string_view text);

}  // namespace orthorank
