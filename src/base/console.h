// Standard output and standard error: the one place where text for people is printed. Names and
// texts out of files are shown without their terminal escapes (base/utf8.h, printable). Used by one
// thread.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace orthorank {

// To standard output as it is: generated text, JSON. Throws Error{file} when it cannot be written.
void write_stdout(std::string_view bytes);
// What was written reaches its reader. Throws Error{file}.
void flush_stdout();
// To standard error, which nobody is told of when it cannot be written.
void write_stderr(std::string_view text);

// Printable text on standard output. Throws Error{file} when it cannot be written.
void print_text(std::string_view text);
// The same, formatted.
template <typename... Args>
void print(fmt::format_string<Args...> format, Args &&...args) {
    print_text(fmt::format(format, std::forward<Args>(args)...));
}

// A printable line on standard error; it ends the line.
void print_remark(std::string_view text);
template <typename... Args>
void remark(fmt::format_string<Args...> format, Args &&...args) {
    print_remark(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace orthorank
