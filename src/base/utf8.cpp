#include "base/utf8.h"

#include <fmt/format.h>
#include <utf8proc.h>

namespace orthorank {

namespace {

constexpr int32_t k_replacement = 0xFFFD;

// What the second byte after `lead` may be: narrower than 80..BF for the leads that could begin an
// overlong form, a surrogate or a value above U+10FFFF (Unicode standard, table 3-7).
bool is_second_byte(unsigned char lead, unsigned char byte) {
    switch (lead) {
        case 0xE0:
            return byte >= 0xA0 && byte <= 0xBF;
        case 0xED:
            return byte >= 0x80 && byte <= 0x9F;
        case 0xF0:
            return byte >= 0x90 && byte <= 0xBF;
        case 0xF4:
            return byte >= 0x80 && byte <= 0x8F;
        default:
            return byte >= 0x80 && byte <= 0xBF;
    }
}

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
        const Utf8Character front = utf8_front(text);
        const bool is_whole = front.kind == Utf8Front::character;
        const std::string_view character = text.substr(0, is_whole ? front.n_bytes : 1);
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

Utf8Character utf8_front(std::string_view text) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return {lead, 1, Utf8Front::character};
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return {k_replacement, 1, Utf8Front::broken};
    }
    const size_t n_wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    int32_t code_point = lead & (0xFF >> (n_wanted + 1));
    for (size_t i = 1; i < n_wanted; i++) {
        if (i == text.size()) {
            return {k_replacement, i, Utf8Front::cut};
        }
        if (!(i == 1 ? is_second_byte(lead, byte(1)) : (byte(i) & 0xC0) == 0x80)) {
            return {k_replacement, i, Utf8Front::broken};
        }
        code_point = (code_point << 6) | (byte(i) & 0x3F);
    }
    return {code_point, n_wanted, Utf8Front::character};
}

std::vector<int32_t> to_code_points(std::string_view text) {
    std::vector<int32_t> code_points;
    code_points.reserve(text.size());
    while (!text.empty()) {
        const Utf8Character front = utf8_front(text);
        code_points.push_back(front.code_point);
        text.remove_prefix(front.n_bytes);
    }
    return code_points;
}

void append_utf8(std::string &text, int32_t code_point) {
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t n_bytes = utf8proc_encode_char(code_point, bytes);
    text.append(reinterpret_cast<const char *>(bytes), static_cast<size_t>(n_bytes));
}

std::string to_utf8(const std::vector<int32_t> &code_points) {
    std::string text;
    text.reserve(code_points.size());
    for (const int32_t code_point : code_points) {
        append_utf8(text, code_point);
    }
    return text;
}

std::string replace_invalid_utf8(std::string_view text) {
    Utf8Buffer buffer;
    std::string replaced = buffer.push(text);
    return replaced + buffer.finish();
}

size_t find_invalid_utf8(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const Utf8Character front = utf8_front(text.substr(at));
        if (front.kind != Utf8Front::character) {
            return at;
        }
        at += front.n_bytes;
    }
    return std::string_view::npos;
}

size_t n_characters(std::string_view text) {
    size_t n = 0;
    for (; !text.empty(); n++) {
        text.remove_prefix(utf8_front(text).n_bytes);
    }
    return n;
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

std::string Utf8Buffer::push(std::string_view bytes) {
    rest_ += bytes;
    std::string characters;
    std::string_view text = rest_;
    while (!text.empty()) {
        const Utf8Character front = utf8_front(text);
        if (front.kind == Utf8Front::cut) {
            break;
        }
        append_utf8(characters, front.code_point);
        text.remove_prefix(front.n_bytes);
    }
    rest_ = std::string(text);
    return characters;
}

std::string Utf8Buffer::finish() {
    const bool is_cut = !rest_.empty();
    rest_.clear();
    return is_cut ? "\uFFFD" : "";
}

}  // namespace orthorank
