#include "model/ggml_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <mutex>

namespace orthorank {

namespace {

thread_local std::string first_error;
thread_local std::vector<std::string> warnings;
thread_local size_t n_warnings = 0;

std::string without_prefix(const std::string &line) {
    // ggml's lines open with "%s: " and the name of a C function or C++ constructor.
    const size_t colon = line.find(": ");
    if (colon == std::string::npos || line.find(' ') < colon) {
        return line;
    }
    return line.substr(colon + 2);
}

// One line, printable: token names may hold anything.
std::string on_one_line(const char *text) {
    std::string line = without_prefix(text);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) {
        line.pop_back();
    }
    for (char &c : line) {
        c = std::iscntrl(static_cast<unsigned char>(c)) != 0 ? ' ' : c;
    }
    return line;
}

void keep_warning(std::string line) {
    // libllama frames some with stars, empty lines and cries in capitals.
    const bool is_ornament = std::none_of(line.begin(), line.end(),
                                          [](unsigned char c) { return std::islower(c) != 0; });
    if (is_ornament || std::find(warnings.begin(), warnings.end(), line) != warnings.end()) {
        return;
    }
    if (++n_warnings <= k_max_warnings) {
        warnings.push_back(std::move(line));
    }
}

}  // namespace

void on_ggml_log(ggml_log_level level, const char *text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR && first_error.empty()) {
        first_error = on_one_line(text);
    } else if (level == GGML_LOG_LEVEL_WARN) {
        keep_warning(on_one_line(text));
    }
}

void capture_ggml_log() {
    static std::once_flag once;
    std::call_once(once, [] { ggml_log_set(on_ggml_log, nullptr); });
}

void clear_ggml_log() {
    first_error.clear();
    warnings.clear();
    n_warnings = 0;
}

std::string ggml_error_or(const std::string &otherwise) {
    return first_error.empty() ? otherwise : first_error;
}

std::vector<std::string> ggml_warnings() {
    std::vector<std::string> lines = warnings;
    if (n_warnings > k_max_warnings) {
        lines.push_back(fmt::format("and {} warnings more", n_warnings - k_max_warnings));
    }
    return lines;
}

}  // namespace orthorank
