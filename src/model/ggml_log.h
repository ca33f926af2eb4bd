// Keeps ggml's and libllama's own log lines off the user's terminal: they are dropped, except that
// each thread remembers, since clear_ggml_log(), the first error line, which our own message may
// quote (ggml logs the cause first, then where that ended), and the warnings. Thread-safe.
#pragma once

#include <ggml.h>

#include <string>
#include <vector>

namespace orthorank {

// The callback for ggml_log_set and llama_log_set.
void on_ggml_log(ggml_log_level level, const char *text, void *user_data);

// Installs the callback in ggml, the first time it is called (libllama's is set by vocab.cpp).
void capture_ggml_log();

// Forgets this thread's lines; call before an operation whose lines are to be quoted.
void clear_ggml_log();

// This thread's first error line without its "function:" prefix and line end, or `otherwise`.
std::string ggml_error_or(const std::string &otherwise);

// This thread's warnings without prefixes, line ends and ornaments: each once, at most
// k_max_warnings of them; the last says how many more there were.
constexpr size_t k_max_warnings = 5;
std::vector<std::string> ggml_warnings();

}  // namespace orthorank
