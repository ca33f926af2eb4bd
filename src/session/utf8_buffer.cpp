#include "session/utf8_buffer.h"

namespace orthorank {

namespace {

constexpr const char *k_replacement = "\xEF\xBF\xBD";

// What stands at the front of a text.
enum class Front { character, beginning, broken };

// Sets n_bytes to the length of the character for Front::character. The ranges are those of the
// Unicode standard, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
Front front_of(std::string_view text, size_t &n_bytes) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    n_bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) {
        return Front::broken;
    }
    for (size_t i = 1; i < n_bytes; ++i) {
        if (i == text.size()) {
            return Front::beginning;
        }
        unsigned low = 0x80;
        unsigned high = 0xBF;
        if (i == 1) {
            low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : low;
            high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : high;
        }
        if (byte(i) < low || byte(i) > high) {
            return Front::broken;
        }
    }
    return Front::character;
}

}  // namespace

std::string Utf8Buffer::push(std::string_view bytes) {
    rest_ += bytes;
    std::string characters;
    std::string_view text = rest_;
    while (!text.empty()) {
        size_t n_bytes = 0;
        const Front front = front_of(text, n_bytes);
        if (front == Front::beginning) {
            break;
        }
        if (front == Front::broken) {
            characters += k_replacement;
            n_bytes = 1;
        } else {
            characters += text.substr(0, n_bytes);
        }
        text.remove_prefix(n_bytes);
    }
    rest_ = std::string(text);
    return characters;
}

}  // namespace orthorank
