// How things fail. The user's world (files, formats, options, limits, devices, requests) throws
// Error where the facts are known, with a message that says what was found, what was expected and
// what to do. Our own bugs fail a CHECK, which throws InternalError. Only cli/main.cpp (and a
// server) catch them. Thread-safe.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace orthorank {

enum class ErrorKind {
    usage,    // options that do not fit together or have no such value; exit code 2
    file,     // a file is missing or cannot be read or written
    format,   // a file's content is not what it should be
    limit,    // a prompt, a context or a memory need is too large
    device,   // a device is missing or refuses
    request,  // a request to a server is malformed
};

class Error : public std::runtime_error {
 public:
    Error(ErrorKind kind, const std::string &message) : std::runtime_error(message), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

 private:
    ErrorKind kind_;
};

class InternalError : public std::logic_error {
 public:
    using std::logic_error::logic_error;
};

// Long work was asked to stop (Ctrl-C) and did so in good order; exit code 130.
class Interrupted : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// Throws an Error with a message formatted as by fmt::format.
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args &&...args) {
    throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// What f returns; an Error that it throws is thrown again with the place before its message:
// "valid.jsonl: document 7: ...".
template <typename Function>
auto at_place(const std::string &place, Function f) {
    try {
        return f();
    } catch (const Error &error) {
        throw Error(error.kind(), place + ": " + error.what());
    }
}

[[noreturn]] void check_failed(const char *expression, const char *file, int line);

}  // namespace orthorank

#define CHECK(condition)                                               \
    do {                                                               \
        if (!(condition)) {                                            \
            ::orthorank::check_failed(#condition, __FILE__, __LINE__); \
        }                                                              \
    } while (false)
