#include "base/utf8.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

TEST(Utf8, NamesThatDifferStayDifferent) {
    EXPECT_EQ(as_utf8("plan \u00e9\n\x1b.json"), "plan \u00e9\n\x1b.json");
    EXPECT_EQ(as_utf8("a\xff.json"), "a\\xff.json");
    EXPECT_EQ(as_utf8("a\xfe.json"), "a\\xfe.json");
    EXPECT_EQ(as_utf8("\xed\xa0\x80 \xc0\xaf \xe2\x82"), "\\xed\\xa0\\x80 \\xc0\\xaf \\xe2\\x82");
    EXPECT_EQ(as_utf8(""), "");
}

// A model named so set the window's title and cleared the screen.
TEST(Utf8, TerminalEscapesAreShown) {
    EXPECT_EQ(printable("\x1b]0;title\x07\x1b[2J"), "\\x1b]0;title\\x07\\x1b[2J");
    EXPECT_EQ(printable("a\r\b\x7f\t\n"), "a\\x0d\\x08\\x7f\t\n");
    EXPECT_EQ(printable("\u009b2J \u00a0 \u4e2d"), "\\xc2\\x9b2J \u00a0 \u4e2d");
    EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
    EXPECT_EQ(printable_line("two\nlines\n"), "two\\nlines\\n");
}

TEST(Utf8, FrontSaysWhatStandsThere) {
    size_t n_bytes = 0;
    EXPECT_EQ(utf8_front("\u4e2dx", n_bytes), Utf8Front::character);
    EXPECT_EQ(n_bytes, 3u);
    EXPECT_EQ(utf8_front("\xe4\xb8", n_bytes), Utf8Front::beginning);
    EXPECT_EQ(utf8_front("\xb8", n_bytes), Utf8Front::broken);
    EXPECT_EQ(utf8_front("\xf4\x90\x80\x80", n_bytes), Utf8Front::broken);
}

}  // namespace
}  // namespace orthorank
