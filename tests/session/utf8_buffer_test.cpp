#include "session/utf8_buffer.h"

#include <gtest/gtest.h>

#include <string>

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
    EXPECT_EQ(buffer.push("y"), k_replacement + k_replacement + k_replacement + "y");
}

TEST(Utf8Buffer, BrokenBytesAreReplaced) {
    Utf8Buffer buffer;
    EXPECT_EQ(buffer.push("\x80"), k_replacement);
    EXPECT_EQ(buffer.push("\xFFz"), k_replacement + "z");
    EXPECT_EQ(buffer.push("\xC0\xAF"), k_replacement + k_replacement);  // overlong
    EXPECT_EQ(buffer.push("\xED\xA0\x80"),
              k_replacement + k_replacement + k_replacement);           // surrogate
    EXPECT_EQ(buffer.push("\xF4\x90"), k_replacement + k_replacement);  // above U+10FFFF
    EXPECT_EQ(buffer.push("\xE2\x82"
                          "a"),
              k_replacement + k_replacement + "a");
    EXPECT_EQ(buffer.rest(), "");
}

}  // namespace
}  // namespace orthorank
