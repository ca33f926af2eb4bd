// What a client is told instead of an answer: a status of HTTP and OpenAI's error object. Thrown
// where the facts are known, written in one place (server/http_server.cpp). Thread-safe.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"

namespace orthorank {

// Copies go from the engine's thread to those of clients, so each has a text of its own, which
// those of std::runtime_error have not.
class ApiError : public std::exception {
 public:
    // code: a word for programs. param: the field of the request that it is about; empty: none.
    ApiError(int status, std::string code, std::string message, std::string param = {});

    const char *what() const noexcept override { return message_.c_str(); }
    int status() const { return status_; }
    const std::string &code() const { return code_; }
    // Further members of the error object, such as "n_prompt_tokens".
    ApiError &with(const std::string &name, nlohmann::ordered_json value);
    // {"error": {"message", "type", "param", "code", ...}}
    nlohmann::ordered_json json() const;

 private:
    int status_;
    std::string code_;
    std::string message_;
    std::string param_;
    nlohmann::ordered_json details_;
};

// Throws one of status 400 about a field.
template <typename... Args>
[[noreturn]] void refuse(const std::string &param, fmt::format_string<Args...> format,
                         Args &&...args) {
    throw ApiError(400, "invalid_value", fmt::format(format, std::forward<Args>(args)...), param);
}

// What an error of the engine is to a client: its own fault (400) when the request was refused
// before anything ran, ours (500, or 503 where memory was short) when it failed later.
ApiError refusal_of(ErrorKind kind, const std::string &message);
ApiError failure_of(ErrorKind kind, const std::string &message);

}  // namespace orthorank
