#include "base/utf8.h"

#include <fmt/format.h>

namespace orthorank {

namespace {

// C0, DEL, and C1, which is two bytes long.
bool is_control(std::string_view character) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
    return character.size() == 1 ? byte(0) < 0x20 || byte(0) == 0x7F
                                 : byte(0) == 0xC2 && byte(1) < 0xA0;
}

// The text with each character that is not `kept`, and each byte that is none, as "\xHH".
template <typename Kept>
std::string escaped(std::string_view text, Kept kept) {
    std::string shown;
    while (!text.empty()) {
        size_t n_bytes = 0;
        const bool is_whole = utf8_front(text, n_bytes) == Utf8Front::character;
        const std::string_view character = text.substr(0, is_whole ? n_bytes : 1);
        if (is_whole && kept(character)) {
            shown += character;
        } else {
            for (const char byte : character) {
                shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
            }
        }
        text.remove_prefix(character.size());
    }
    return shown;
}

}  // namespace

Utf8Front utf8_front(std::string_view text, size_t &n_bytes) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    n_bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) {
        return Utf8Front::broken;
    }
    for (size_t i = 1; i < n_bytes; ++i) {
        if (i == text.size()) {
            return Utf8Front::beginning;
        }
        unsigned low = 0x80;
        unsigned high = 0xBF;
        if (i == 1) {
            low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : low;
            high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : high;
        }
        if (byte(i) < low || byte(i) > high) {
            return Utf8Front::broken;
        }
    }
    return Utf8Front::character;
}

std::string as_utf8(std::string_view text) {
    return escaped(text, [](std::string_view) { return true; });
}

std::string printable(std::string_view text) {
    return escaped(text, [](std::string_view character) {
        return character == "\n" || character == "\t" || !is_control(character);
    });
}

std::string printable_line(std::string_view text) {
    std::string line = printable(text);
    for (size_t at = 0; (at = line.find('\n', at)) != std::string::npos; at += 2) {
        line.replace(at, 1, "\\n");
    }
    return line;
}

}  // namespace orthorank
