// UTF-8, read in one way everywhere. What is not UTF-8 becomes U+FFFD, one for each maximal broken
// part, as the decoders of Python, Rust and the browsers do (Unicode standard, section 3.9): bytes
// that begin a character and stop too early are one part, a byte that begins none is one of its
// own. No overlong forms, no surrogates, nothing above U+10FFFF. Pure functions, thread-safe; none
// throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

enum class Utf8Front {
    character,
    broken,
    cut,  // the text ends within what may become a character
};

// What stands at the front of a text.
struct Utf8Character {
    int32_t code_point = 0;  // U+FFFD where it is broken or cut
    size_t n_bytes = 0;      // taken by it; >= 1
    Utf8Front kind = Utf8Front::character;
};

// text is not empty.
Utf8Character utf8_front(std::string_view text);

std::vector<int32_t> to_code_points(std::string_view text);
std::string to_utf8(const std::vector<int32_t> &code_points);
void append_utf8(std::string &text, int32_t code_point);

// The text with everything that is not UTF-8 replaced by U+FFFD; a valid text comes back unchanged.
std::string replace_invalid_utf8(std::string_view text);
// The offset of the first byte that is not UTF-8, or std::string_view::npos.
size_t find_invalid_utf8(std::string_view text);

// The number of Unicode characters (code points), Python's len().
size_t n_characters(std::string_view text);

// A name that may hold any bytes, such as a file's, as UTF-8: a byte that is none becomes "\xff",
// so that names that differ stay different.
std::string as_utf8(std::string_view text);

// Text for a terminal: as as_utf8, and control characters become "\x1b" too, so that a name out of
// a file cannot move the cursor. Line ends and tabs stay.
std::string printable(std::string_view text);
// The same for one line: line ends become "\n".
std::string printable_line(std::string_view text);

// Makes whole characters of bytes that arrive in pieces, as tokens do: what a terminal or a JSON
// text may be given. All that comes out, finish() included, is replace_invalid_utf8 of all that
// went in. Owned by one thread.
class Utf8Buffer {
 public:
    // Takes more bytes and returns the characters that are complete now.
    std::string push(std::string_view bytes);
    // Bytes held back: the beginning of a character.
    std::string_view rest() const { return rest_; }
    // Nothing more comes: U+FFFD for the rest, if there is one.
    std::string finish();

 private:
    std::string rest_;
};

}  // namespace orthorank
