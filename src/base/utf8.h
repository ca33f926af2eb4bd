// UTF-8 as the Unicode standard has it (table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF). Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orthorank {

// What stands at the front of a text that is not empty.
enum class Utf8Front { character, beginning, broken };

// Sets n_bytes to the length of the character for Utf8Front::character.
Utf8Front utf8_front(std::string_view text, size_t &n_bytes);

// A name that may hold any bytes, such as a file's, as UTF-8: a byte that is none becomes "\xff",
// so that names that differ stay different.
std::string as_utf8(std::string_view text);

// Text for a terminal: as as_utf8, and control characters become "\x1b" too, so that a name out of
// a file cannot move the cursor. Line ends and tabs stay.
std::string printable(std::string_view text);
// The same for one line: line ends become "\n".
std::string printable_line(std::string_view text);

}  // namespace orthorank
