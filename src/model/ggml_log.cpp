#include "model/ggml_log.h"

#include <mutex>

namespace orthorank {

namespace {

thread_local std::string first_error;

std::string without_prefix(const std::string &line) {
    // ggml's lines open with "%s: " and the name of a C function or C++ constructor.
    const size_t colon = line.find(": ");
    if (colon == std::string::npos || line.find(' ') < colon) {
        return line;
    }
    return line.substr(colon + 2);
}

}  // namespace

void on_ggml_log(ggml_log_level level, const char *text, void *) {
    if (level != GGML_LOG_LEVEL_ERROR || !first_error.empty()) {
        return;
    }
    std::string line = text;
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) {
        line.pop_back();
    }
    for (char &c : line) {
        c = c == '\n' ? ' ' : c;
    }
    first_error = without_prefix(line);
}

void capture_ggml_log() {
    static std::once_flag once;
    std::call_once(once, [] { ggml_log_set(on_ggml_log, nullptr); });
}

void clear_ggml_error() {
    first_error.clear();
}

std::string ggml_error_or(const std::string &otherwise) {
    return first_error.empty() ? otherwise : first_error;
}

}  // namespace orthorank
