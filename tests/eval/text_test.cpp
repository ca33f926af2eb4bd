#include "eval/text.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

TEST(Text, CharactersAreCodePointsNotBytes) {
    EXPECT_EQ(n_characters(""), 0u);
    EXPECT_EQ(n_characters("abc"), 3u);
    EXPECT_EQ(n_characters("\u00e9t\u00e9"), 3u);
    EXPECT_EQ(n_characters("\U0001F600!"), 2u);
    EXPECT_EQ(n_characters("e\u0301"), 2u);  // a combining mark counts, as in Python
}

// Expected values: bytes.decode("utf-8", errors="replace") of Python 3.
TEST(Text, EachBrokenPartBecomesOneReplacementCharacter) {
    EXPECT_EQ(replace_invalid_utf8("a\xE2\x82z"), "a\uFFFDz");
    EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98"), "\uFFFD");
    EXPECT_EQ(replace_invalid_utf8("\x98\x80x"), "\uFFFD\uFFFDx");
    EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
    EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
    EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
    EXPECT_EQ(replace_invalid_utf8("caf\u00e9"), "caf\u00e9");
    EXPECT_EQ(find_invalid_utf8("ab\xFFz"), 2u);
    EXPECT_EQ(find_invalid_utf8("caf\u00e9"), std::string_view::npos);
}

TEST(Text, StripsUnicodeWhitespace) {
    EXPECT_EQ(strip(" \t\u00a0x y\u2003\u3000\n"), "x y");
    EXPECT_EQ(rstrip(" x\x1f\u2028"), " x");
    EXPECT_EQ(strip(" \u0085 "), "");
    EXPECT_EQ(strip("\u200bx"), "\u200bx");  // a zero-width space is none
    EXPECT_EQ(rstrip("x\xA0"), "x\xA0");     // half a character is none
}

TEST(Text, SplitsLikePython) {
    EXPECT_EQ(split_words("  a\u00a0b \n c"), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(split_words(" "), std::vector<std::string>{});
    EXPECT_EQ(split_at("a..b.", '.'), (std::vector<std::string>{"a", "", "b", ""}));
    EXPECT_EQ(split_at("", '.'), std::vector<std::string>{""});
    EXPECT_EQ(replace_all("a   b", "  ", " "), "a  b");
}

TEST(Text, CapitalizeLowersTheRest) {
    EXPECT_EQ(capitalize("then McDonald's IS"), "Then mcdonald's is");
    EXPECT_EQ(capitalize(""), "");
    EXPECT_EQ(capitalize("\u00c9T\u00c9 \u00c9"), "\u00c9t\u00e9 \u00e9");
    EXPECT_EQ(capitalize("\u01c6a"), "\u01c5a");  // title case is not upper case
    EXPECT_EQ(capitalize("\u00dfA"), "Ssa");
    EXPECT_EQ(lower("\u0130A\u0391"), "i\u0307a\u03b1");
}

}  // namespace
}  // namespace orthorank
