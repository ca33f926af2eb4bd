// Unicode text as the evaluation protocols see it. The published metrics are Python programs, so
// "character", "whitespace", "lower case" and "digit" here mean what Python's str means by them;
// the character data is utf8proc's. All strings are UTF-8. Pure functions, thread-safe; none
// throws, except where it says so.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// The code points of a text; bytes that are not UTF-8 become U+FFFD, one for each maximal broken
// part, as the decoders of Python and Rust do with errors replaced.
std::vector<int32_t> to_code_points(std::string_view text);
std::string to_utf8(const std::vector<int32_t> &code_points);
void append_utf8(std::string &text, int32_t code_point);

// The text with everything that is not UTF-8 replaced by U+FFFD; a valid text comes back unchanged.
std::string replace_invalid_utf8(std::string_view text);
// The offset of the first byte that is not UTF-8, or std::string_view::npos.
size_t find_invalid_utf8(std::string_view text);

// The number of Unicode characters (code points), Python's len().
size_t n_characters(std::string_view text);

// str.isspace, unicode category N*, P*, S*, Nd and the \w of Python's re, for one code point.
bool is_space(int32_t code_point);
bool is_number(int32_t code_point);
bool is_punctuation(int32_t code_point);
bool is_symbol(int32_t code_point);
bool is_decimal_digit(int32_t code_point);
bool is_word(int32_t code_point);

// str.strip and str.rstrip: Unicode whitespace at both ends, or at the right end.
std::string_view strip(std::string_view text);
std::string_view rstrip(std::string_view text);
// str.split(): the words between runs of Unicode whitespace.
std::vector<std::string> split_words(std::string_view text);
// str.split(separator): every piece, the empty ones too; the separator is one ASCII character.
std::vector<std::string> split_at(std::string_view text, char separator);
// str.replace: non-overlapping, from the left. `from` is not empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// str.lower and str.capitalize (first character title case, all others lower case), by simple case
// mapping; of the one-to-many mappings only U+0130 and a leading sharp s. Python's context rule for
// the Greek final sigma is left out: F1 lowers both sides alike, and HellaSwag has no Greek.
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);

}  // namespace orthorank
