#include "session/text_stream.h"

#include <algorithm>
#include <utility>

namespace orthorank {

namespace {

// Bytes at the end of text that a stop string begins with.
size_t n_begun(std::string_view text, std::string_view stop) {
    size_t n = std::min(text.size(), stop.size() - 1);
    while (n > 0 && text.substr(text.size() - n) != stop.substr(0, n)) {
        --n;
    }
    return n;
}

}  // namespace

std::string TextStream::push(std::string_view bytes) {
    if (is_stopped_) {
        return "";
    }
    std::string text = std::exchange(held_, "") + characters_.push(bytes);
    size_t end = std::string::npos;
    size_t n_held = 0;
    for (const std::string &stop : stops_) {
        end = std::min(end, text.find(stop));
        n_held = std::max(n_held, n_begun(text, stop));
    }
    is_stopped_ = end != std::string::npos;
    if (!is_stopped_) {
        end = text.size() - n_held;
        held_ = text.substr(end);
    }
    text.resize(end);
    return text;
}

std::string TextStream::flush() {
    return std::exchange(held_, "");
}

}  // namespace orthorank
