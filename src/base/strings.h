// Plain work on strings, bytes as they are. Pure functions, thread-safe; none throws.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// Every piece between separators, the empty ones too: "" gives one. The separator is one ASCII
// character.
std::vector<std::string> split_at(std::string_view text, char separator);

// Non-overlapping, from the left. `from` is not empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace orthorank
