#include "eval/text.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace orthorank {

namespace {

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
        const Utf8Character first = utf8_front(text);
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
        const Utf8Character last = utf8_front(text.substr(at));
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
        const Utf8Character decoded = utf8_front(text.substr(at));
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
