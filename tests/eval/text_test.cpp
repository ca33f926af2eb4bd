#include "eval/text.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

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
