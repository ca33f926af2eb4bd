// Control tokens in the text of a conversation: those that the template writes are control tokens,
// their names inside a message, in its role too, are text. Templates trim, split and join contents,
// so a content cannot be followed through one; instead each name in it is broken by a guard
// character before the template runs, and the guards are taken out of the pieces afterwards.
// Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/chat_template.h"

namespace orthorank {

struct ControlToken {
    int32_t id = -1;
    std::string name;
    bool strips_left = false;  // swallows the white space before or behind it
    bool strips_right = false;
};

// A control token, or text that has none.
struct ChatPiece {
    int32_t token = -1;  // -1: text
    std::string text;
};

// A character of Unicode's private use that is neither in a message nor in the template.
std::string guard_for(std::span<const ChatMessage> messages, const std::string &chat_template);

// A role or content with a guard behind the first character of each control token's name.
std::string guarded(const std::string &part, std::span<const ControlToken> controls,
                    const std::string &guard);

// A text with guards in pieces: unbroken names are tokens (of several at one place the longest),
// the rest is text without guards.
std::vector<ChatPiece> chat_pieces(const std::string &text, std::span<const ControlToken> controls,
                                   const std::string &guard);

}  // namespace orthorank
