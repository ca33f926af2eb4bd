#include "server/api_error.h"

namespace orthorank {

namespace {

const char *type_of(int status) {
    switch (status) {
        case 401:
            return "authentication_error";
        case 404:
            return "not_found_error";
        case 429:
            return "rate_limit_error";
        case 503:
            return "unavailable_error";
        default:
            return status < 500 ? "invalid_request_error" : "server_error";
    }
}

}  // namespace

ApiError::ApiError(int status, std::string code, std::string message, std::string param)
    : status_(status),
      code_(std::move(code)),
      message_(std::move(message)),
      param_(std::move(param)) {}

ApiError &ApiError::with(const std::string &name, nlohmann::ordered_json value) {
    details_[name] = std::move(value);
    return *this;
}

nlohmann::ordered_json ApiError::json() const {
    nlohmann::ordered_json error = {{"message", message_}, {"type", type_of(status_)}};
    error["param"] =
        param_.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(param_);
    error["code"] = code_;
    for (const auto &[name, value] : details_.items()) {
        error[name] = value;
    }
    return {{"error", error}};
}

ApiError refusal_of(ErrorKind kind, const std::string &message) {
    const bool is_clients = kind == ErrorKind::usage || kind == ErrorKind::limit ||
                            kind == ErrorKind::request || kind == ErrorKind::format;
    return is_clients ? ApiError(400, "invalid_request", message)
                      : ApiError(500, "failed", message);
}

ApiError failure_of(ErrorKind kind, const std::string &message) {
    return kind == ErrorKind::limit ? ApiError(503, "no_memory", message)
                                    : ApiError(500, "failed", message);
}

}  // namespace orthorank
