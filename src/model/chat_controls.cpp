#include "model/chat_controls.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/strings.h"
#include "model/special_names.h"

namespace orthorank {

namespace {

// U+E000 to U+F8FF
constexpr int k_first_private = 0xe000;
constexpr int k_last_private = 0xf8ff;

std::string utf8_of_three(int code) {
    return {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
            static_cast<char>(0x80 | (code & 0x3f))};
}

size_t first_character_bytes(const std::string &name) {
    size_t n = 1;
    while (n < name.size() && (static_cast<unsigned char>(name[n]) & 0xc0) == 0x80) {
        ++n;
    }
    return n;
}

// Where names stand: the longest at each place.
std::map<size_t, const ControlToken *> matches(const std::string &text,
                                               std::span<const ControlToken> controls,
                                               const std::string &guard) {
    std::map<size_t, const ControlToken *> found;
    for (const ControlToken &control : controls) {
        const size_t n_first = first_character_bytes(control.name);
        for (size_t at = text.find(control.name); at != std::string::npos;
             at = text.find(control.name, at + 1)) {
            // A name of one character has its guard behind it.
            const ControlToken *&longest = found[at];
            if (text.compare(at + n_first, guard.size(), guard) != 0 &&
                (longest == nullptr || longest->name.size() < control.name.size())) {
                longest = &control;
            }
        }
    }
    std::erase_if(found, [](const auto &match) { return match.second == nullptr; });
    return found;
}

}  // namespace

std::string guard_for(std::span<const ChatMessage> messages, const std::string &chat_template) {
    for (int code = k_last_private; code >= k_first_private; --code) {
        const std::string guard = utf8_of_three(code);
        const bool is_free =
            chat_template.find(guard) == std::string::npos &&
            std::none_of(messages.begin(), messages.end(), [&](const ChatMessage &message) {
                return message.role.find(guard) != std::string::npos ||
                       message.content.find(guard) != std::string::npos;
            });
        if (is_free) {
            return guard;
        }
    }
    fail(ErrorKind::request, "the messages use every character of Unicode's private use area");
}

std::string guarded(const std::string &part, std::span<const ControlToken> controls,
                    const std::string &guard) {
    std::set<size_t> places;
    for (const ControlToken &control : controls) {
        const size_t n_first = first_character_bytes(control.name);
        for (size_t at = part.find(control.name); at != std::string::npos;
             at = part.find(control.name, at + 1)) {
            places.insert(at + n_first);
        }
    }
    std::string text;
    size_t done = 0;
    for (const size_t place : places) {
        text += part.substr(done, place - done) + guard;
        done = place;
    }
    return text + part.substr(done);
}

std::vector<ChatPiece> chat_pieces(const std::string &text, std::span<const ControlToken> controls,
                                   const std::string &guard) {
    std::vector<ChatPiece> pieces;
    size_t done = 0;
    const auto add_text = [&](size_t end, bool strips_right) {
        while (strips_right && end > done && is_white_space(text[end - 1])) {
            --end;
        }
        std::string piece = replace_all(text.substr(done, end - done), guard, "");
        if (!piece.empty()) {
            pieces.push_back({-1, std::move(piece)});
        }
    };
    for (const auto &[at, control] : matches(text, controls, guard)) {
        if (at < done) {
            continue;  // inside the one before
        }
        add_text(at, control->strips_left);
        pieces.push_back({control->id, {}});
        done = at + control->name.size();
        while (control->strips_right && done < text.size() && is_white_space(text[done])) {
            ++done;
        }
    }
    add_text(text.size(), false);
    return pieces;
}

}  // namespace orthorank
