// Keeps ggml's and libllama's own log lines off the user's terminal: they are dropped, except that
// each thread remembers the first error line since clear_ggml_error(), which our own message may
// quote (ggml logs the cause first, then where that ended). Thread-safe.
#pragma once

#include <ggml.h>

#include <string>

namespace orthorank {

// The callback for ggml_log_set and llama_log_set.
void on_ggml_log(ggml_log_level level, const char *text, void *user_data);

// Installs the callback in ggml, the first time it is called (libllama's is set by vocab.cpp).
void capture_ggml_log();

// Forgets this thread's error line; call before an operation whose failure is to be quoted.
void clear_ggml_error();

// This thread's first error line without its "function:" prefix and line end, or `otherwise`.
std::string ggml_error_or(const std::string &otherwise);

}  // namespace orthorank
