#include "base/utf8.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace orthorank {
namespace {

// "aé€😀": characters of one to four bytes.
const std::string k_text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
const std::string k_replacement = "\xEF\xBF\xBD";

TEST(Utf8Buffer, ByteByByteOnlyWholeCharacters) {
    Utf8Buffer buffer;
    std::string text;
    for (char byte : k_text) {
        const std::string part = buffer.push(std::string(1, byte));
        EXPECT_TRUE(part.empty() || (part[0] & 0xC0) != 0x80) << "half a character";
        text += part;
    }
    EXPECT_EQ(text, k_text);
    EXPECT_EQ(buffer.rest(), "");
}

TEST(Utf8Buffer, AnyCutGivesTheSameText) {
    for (size_t i = 0; i <= k_text.size(); ++i) {
        Utf8Buffer buffer;
        std::string text = buffer.push(k_text.substr(0, i));
        text += buffer.push(k_text.substr(i));
        EXPECT_EQ(text, k_text);
    }
}

TEST(Utf8Buffer, HoldsBackTheBeginningOfACharacter) {
    Utf8Buffer buffer;
    EXPECT_EQ(buffer.push("x\xF0\x9F\x98"), "x");
    EXPECT_EQ(buffer.rest(), "\xF0\x9F\x98");
    EXPECT_EQ(buffer.push("y"), k_replacement + "y");
    EXPECT_EQ(buffer.finish(), "");
    EXPECT_EQ(buffer.push("\xE2\x82"), "");
    EXPECT_EQ(buffer.finish(), k_replacement);
    EXPECT_EQ(buffer.rest(), "");
}

// Bytes and what Python 3 makes of them: bytes.decode("utf-8", errors="replace").
const std::vector<std::pair<std::string, std::string>> k_broken = {
    {"a\xE2\x82z", "a\uFFFDz"},
    {"\xF0\x9F\x98", "\uFFFD"},
    {"\x98\x80x", "\uFFFD\uFFFDx"},
    {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // a surrogate
    {"\xC0\xAF", "\uFFFD\uFFFD"},                      // overlong
    {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
    {"\xFFz", "\uFFFDz"},
    {"\xE2\xE2\x82", "\uFFFD\uFFFD"},
    {"caf\u00e9", "caf\u00e9"}};

TEST(Utf8, EachBrokenPartBecomesOneReplacementCharacter) {
    for (const auto &[bytes, text] : k_broken) {
        EXPECT_EQ(replace_invalid_utf8(bytes), text);
        EXPECT_EQ(to_utf8(to_code_points(bytes)), text);
        EXPECT_EQ(n_characters(bytes), n_characters(text));
    }
    EXPECT_EQ(find_invalid_utf8("ab\xFFz"), 2u);
    EXPECT_EQ(find_invalid_utf8("ab\xE2\x82"), 2u);
    EXPECT_EQ(find_invalid_utf8("caf\u00e9"), std::string_view::npos);
}

TEST(Utf8, InPiecesAndInJsonTheRuleIsTheSame) {
    for (const auto &[bytes, text] : k_broken) {
        Utf8Buffer buffer;
        std::string pieces;
        for (const char byte : bytes) {
            pieces += buffer.push(std::string(1, byte));
        }
        EXPECT_EQ(pieces + buffer.finish(), text);
        const nlohmann::json json = bytes;
        EXPECT_EQ(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                  nlohmann::json(text).dump());
    }
}

TEST(Utf8, CharactersAreCodePointsNotBytes) {
    EXPECT_EQ(n_characters(""), 0u);
    EXPECT_EQ(n_characters("abc"), 3u);
    EXPECT_EQ(n_characters("\u00e9t\u00e9"), 3u);
    EXPECT_EQ(n_characters("\U0001F600!"), 2u);
    EXPECT_EQ(n_characters("e\u0301"), 2u);  // a combining mark counts, as in Python
}

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
    EXPECT_EQ(utf8_front("\u4e2dx").kind, Utf8Front::character);
    EXPECT_EQ(utf8_front("\u4e2dx").n_bytes, 3u);
    EXPECT_EQ(utf8_front("\u4e2dx").code_point, 0x4e2d);
    EXPECT_EQ(utf8_front("\xe4\xb8").kind, Utf8Front::cut);
    EXPECT_EQ(utf8_front("\xe4\xb8").n_bytes, 2u);
    EXPECT_EQ(utf8_front("\xb8").kind, Utf8Front::broken);
    EXPECT_EQ(utf8_front("\xf4\x90\x80\x80").kind, Utf8Front::broken);
}

}  // namespace
}  // namespace orthorank
