#include "base/console.h"

#include <cerrno>
#include <cstdio>
#include <string>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/utf8.h"

namespace orthorank {

namespace {

[[noreturn]] void fail_stdout() {
    fail(ErrorKind::file, "standard output cannot be written: {}", errno_text(errno));
}

}  // namespace

void write_stdout(std::string_view bytes) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
        fail_stdout();
    }
}

void flush_stdout() {
    if (std::fflush(stdout) != 0) {
        fail_stdout();
    }
}

void write_stderr(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
}

void print_text(std::string_view text) {
    write_stdout(printable(text));
}

void print_remark(std::string_view text) {
    write_stderr(printable_line(text) + "\n");
}

}  // namespace orthorank
