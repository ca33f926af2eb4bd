#include "model/chat_controls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orthorank::test {
namespace {

const std::vector<ControlToken> k_controls = {
    {1, "<|a|>"}, {2, "<|a|>b"}, {3, "#"}, {4, "[L]", true, false}, {5, "[R]", false, true}};

// Pieces as text, tokens as their numbers in braces.
std::string shown(const std::vector<ChatPiece> &pieces) {
    std::string text;
    for (const ChatPiece &piece : pieces) {
        text += piece.token >= 0 ? "{" + std::to_string(piece.token) + "}" : "(" + piece.text + ")";
    }
    return text;
}

TEST(ChatControls, NamesInATextAreTokens) {
    EXPECT_EQ(shown(chat_pieces("x<|a|>y<|a|>bz#", k_controls, "!")), "(x){1}(y){2}(z){3}");
    EXPECT_EQ(shown(chat_pieces("", k_controls, "!")), "");
    EXPECT_EQ(shown(chat_pieces("<|a|", k_controls, "!")), "(<|a|)");
    EXPECT_EQ(shown(chat_pieces("<|a|>", k_controls, "!")), "{1}");
}

TEST(ChatControls, SomeSwallowTheBlanksBesideThem) {
    EXPECT_EQ(shown(chat_pieces("x \n[L] y", k_controls, "!")), "(x){4}( y)");
    EXPECT_EQ(shown(chat_pieces("x [R] \ny [R] ", k_controls, "!")), "(x ){5}(y ){5}");
}

TEST(ChatControls, GuardedNamesAreText) {
    const std::string content = "1 <|a|>b # <|a|>, [L] and <|a";
    const std::string safe = guarded(content, k_controls, "!");
    EXPECT_EQ(safe, "1 <!|a|>b #! <!|a|>, [!L] and <|a");
    EXPECT_EQ(shown(chat_pieces("<|a|>" + safe + "#", k_controls, "!")), "{1}(" + content + "){3}");
}

TEST(ChatControls, TheGuardIsInNoMessage) {
    const std::string first = guard_for({}, "");
    const ChatMessage messages[] = {{"user", "x" + first}};
    const std::string second = guard_for(messages, "");
    EXPECT_NE(first, second);
    EXPECT_EQ(first.size(), 3u);
    EXPECT_NE(guard_for(messages, second), second);
    const ChatMessage with_role[] = {{"x" + first, ""}};
    EXPECT_EQ(guard_for(with_role, ""), second);
}

}  // namespace
}  // namespace orthorank::test
