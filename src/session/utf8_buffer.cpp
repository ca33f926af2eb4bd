#include "session/utf8_buffer.h"

#include "base/utf8.h"

namespace orthorank {

namespace {

constexpr const char *k_replacement = "\xEF\xBF\xBD";

}  // namespace

std::string Utf8Buffer::push(std::string_view bytes) {
    rest_ += bytes;
    std::string characters;
    std::string_view text = rest_;
    while (!text.empty()) {
        size_t n_bytes = 0;
        const Utf8Front front = utf8_front(text, n_bytes);
        if (front == Utf8Front::beginning) {
            break;
        }
        if (front == Utf8Front::broken) {
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
