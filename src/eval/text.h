// Unicode text as the evaluation protocols see it. The published metrics are Python programs, so
// "character", "whitespace", "lower case" and "digit" here mean what Python's str means by them;
// the character data is utf8proc's. All strings are UTF-8 (base/utf8.h). Pure functions,
// thread-safe; none throws.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

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

// str.lower and str.capitalize (first character title case, all others lower case), by simple case
// mapping; of the one-to-many mappings only U+0130 and a leading sharp s. Python's context rule for
// the Greek final sigma is left out: F1 lowers both sides alike, and HellaSwag has no Greek.
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);

}  // namespace orthorank
