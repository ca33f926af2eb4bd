#include "eval/text.h"

#include <utf8proc.h>

namespace orthorank {

namespace {

constexpr int32_t k_replacement = 0xFFFD;

struct Decoded {
    int32_t code_point;
    size_t n_bytes;
    bool is_valid;
};

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

Decoded decode_at(std::string_view text, size_t at) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(at);
    if (lead < 0x80) {
        return {lead, 1, true};
    }
    size_t n_wanted = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
        n_wanted = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        n_wanted = 3;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        n_wanted = 4;
    } else {
        return {k_replacement, 1, false};
    }
    int32_t code_point = lead & (0xFF >> (n_wanted + 1));
    for (size_t i = 1; i < n_wanted; i++) {
        if (at + i >= text.size() ||
            !(i == 1 ? is_second_byte(lead, byte(at + 1)) : (byte(at + i) & 0xC0) == 0x80)) {
            return {k_replacement, i, false};
        }
        code_point = (code_point << 6) | (byte(at + i) & 0x3F);
    }
    return {code_point, n_wanted, true};
}

bool is_category_between(int32_t code_point, utf8proc_category_t first, utf8proc_category_t last) {
    const utf8proc_category_t category = utf8proc_category(code_point);
    return category >= first && category <= last;
}

void append_lower(std::string &out, int32_t code_point) {
    if (code_point == 0x130) {  // capital I with dot: the one lower case mapping to two characters
        out += "i\xCC\x87";
        return;
    }
    append_utf8(out, utf8proc_tolower(code_point));
}

}  // namespace

std::vector<int32_t> to_code_points(std::string_view text) {
    std::vector<int32_t> code_points;
    code_points.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Decoded decoded = decode_at(text, at);
        code_points.push_back(decoded.code_point);
        at += decoded.n_bytes;
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
    if (find_invalid_utf8(text) == std::string_view::npos) {
        return std::string(text);
    }
    return to_utf8(to_code_points(text));
}

size_t find_invalid_utf8(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const Decoded decoded = decode_at(text, at);
        if (!decoded.is_valid) {
            return at;
        }
        at += decoded.n_bytes;
    }
    return std::string_view::npos;
}

size_t n_characters(std::string_view text) {
    size_t n = 0;
    for (size_t at = 0; at < text.size(); n++) {
        at += decode_at(text, at).n_bytes;
    }
    return n;
}

// The list of Python's str.isspace: category Zs, or bidirectional class WS, B or S.
bool is_space(int32_t code_point) {
    return (code_point >= 0x09 && code_point <= 0x0D) ||
           (code_point >= 0x1C && code_point <= 0x20) || code_point == 0x85 || code_point == 0xA0 ||
           code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200A) ||
           code_point == 0x2028 || code_point == 0x2029 || code_point == 0x202F ||
           code_point == 0x205F || code_point == 0x3000;
}

bool is_number(int32_t code_point) {
    return is_category_between(code_point, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool is_punctuation(int32_t code_point) {
    return is_category_between(code_point, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool is_symbol(int32_t code_point) {
    return is_category_between(code_point, UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO);
}

bool is_decimal_digit(int32_t code_point) {
    return utf8proc_category(code_point) == UTF8PROC_CATEGORY_ND;
}

bool is_word(int32_t code_point) {
    return code_point == '_' || is_number(code_point) ||
           is_category_between(code_point, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO);
}

std::string_view strip(std::string_view text) {
    text = rstrip(text);
    while (!text.empty()) {
        const Decoded first = decode_at(text, 0);
        if (!is_space(first.code_point)) {
            break;
        }
        text.remove_prefix(first.n_bytes);
    }
    return text;
}

std::string_view rstrip(std::string_view text) {
    while (!text.empty()) {
        size_t at = text.size() - 1;
        while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) {
            at--;
        }
        const Decoded last = decode_at(text, at);
        if (at + last.n_bytes != text.size() || !is_space(last.code_point)) {
            break;
        }
        text.remove_suffix(last.n_bytes);
    }
    return text;
}

std::vector<std::string> split_words(std::string_view text) {
    std::vector<std::string> words;
    bool is_inside = false;
    for (size_t at = 0; at < text.size();) {
        const Decoded decoded = decode_at(text, at);
        if (is_space(decoded.code_point)) {
            is_inside = false;
        } else {
            if (!is_inside) {
                words.emplace_back();
            }
            words.back().append(text.substr(at, decoded.n_bytes));
            is_inside = true;
        }
        at += decoded.n_bytes;
    }
    return words;
}

std::vector<std::string> split_at(std::string_view text, char separator) {
    std::vector<std::string> pieces;
    size_t begin = 0;
    for (size_t end = text.find(separator); end != std::string_view::npos;
         end = text.find(separator, begin)) {
        pieces.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    pieces.emplace_back(text.substr(begin));
    return pieces;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
    std::string out;
    size_t begin = 0;
    for (size_t found = text.find(from); found != std::string_view::npos;
         found = text.find(from, begin)) {
        out.append(text.substr(begin, found - begin)).append(to);
        begin = found + from.size();
    }
    return out.append(text.substr(begin));
}

std::string lower(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const int32_t code_point : to_code_points(text)) {
        append_lower(out, code_point);
    }
    return out;
}

std::string capitalize(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    bool is_first = true;
    for (const int32_t code_point : to_code_points(text)) {
        if (is_first && code_point == 0xDF) {  // sharp s: utf8proc has the capital letter here
            out += "Ss";
        } else if (is_first) {
            append_utf8(out, utf8proc_totitle(code_point));
        } else {
            append_lower(out, code_point);
        }
        is_first = false;
    }
    return out;
}

}  // namespace orthorank
