#include "session/text_stream.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

// The text in tokens that end at every combination of one or two places.
void expect_stopped(const std::string &bytes, const std::vector<std::string> &stops,
                    const std::string &expected) {
    for (size_t a = 0; a <= bytes.size(); ++a) {
        for (size_t b = a; b <= bytes.size(); ++b) {
            TextStream stream(stops);
            std::string text;
            for (const std::string &part :
                 {bytes.substr(0, a), bytes.substr(a, b - a), bytes.substr(b)}) {
                text += stream.push(part);
                EXPECT_EQ(expected.substr(0, text.size()), text) << "nothing is shown too early";
            }
            EXPECT_TRUE(stream.is_stopped());
            EXPECT_EQ(text, expected) << a << " " << b;
            EXPECT_EQ(stream.push("more"), "");
            EXPECT_EQ(stream.flush(), "");
        }
    }
}

TEST(TextStream, StopStringsNeverAppearHoweverTheTokensFall) {
    expect_stopped("one STOP two", {"STOP"}, "one ");
    expect_stopped("aab aaab", {"aaab"}, "aab ");
    expect_stopped("so it ends\n\nhere", {"###", "\n\n"}, "so it ends");
    expect_stopped("xabcy", {"bc", "abcd"}, "xa");
    expect_stopped("the first of two", {"two", "first"}, "the ");
    expect_stopped(
        "gr\xC3\xBC\xC3\x9F"
        "e",
        {"\xC3\x9F"}, "gr\xC3\xBC");
}

TEST(TextStream, WhatOnlyBeganLikeAStopStringIsShown) {
    TextStream stream({"STOP"});
    EXPECT_EQ(stream.push("a ST"), "a ");
    EXPECT_EQ(stream.push("A"), "STA");
    EXPECT_EQ(stream.push(" S"), " ");
    EXPECT_EQ(stream.push("STO"), "S");
    EXPECT_FALSE(stream.is_stopped());
    EXPECT_EQ(stream.flush(), "STO");
    EXPECT_EQ(stream.flush(), "");
}

TEST(TextStream, CharactersAreWhole) {
    TextStream stream;
    EXPECT_EQ(stream.push("\xE2\x82"), "");
    EXPECT_EQ(stream.push("\xAC!"), "\xE2\x82\xAC!");
    EXPECT_EQ(stream.push("x\xF0\x9F"), "x");
    EXPECT_EQ(stream.flush(), "") << "a character that never came whole is no text";
}

}  // namespace
}  // namespace orthorank
