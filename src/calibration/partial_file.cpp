#include "calibration/partial_file.h"

#include <cmath>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/output_file.h"
#include "base/strict_json.h"
#include "base/text_file.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *k_format = "orthorank-partial";
constexpr int k_version = 1;
constexpr uint64_t k_max_bytes = 64u << 20;

bool has(const Json &json, const char *key, const Json &value) {
    return json.is_object() && json.contains(key) && json.at(key) == value;
}

// The name of the first entry that only one of them has, or that differs; empty: they are equal.
std::string first_difference(const Json &wanted, const Json &found) {
    for (const auto &[name, value] : wanted.items()) {
        if (!has(found, name.c_str(), value)) {
            return name;
        }
    }
    for (const auto &[name, value] : found.items()) {
        if (!wanted.contains(name)) {
            return name;
        }
    }
    return "";
}

}  // namespace

std::string partial_path(const std::string &plan_path) {
    return plan_path + ".partial";
}

FileLock lock_partial(const std::string &path) {
    // Of a file of its own: the partial file is replaced after every round.
    return {path + ".lock", path, FileLock::After::remove};
}

void write_partial_json(const std::string &path, const Json &key, const Json &body) {
    Json json = {{"format", k_format}, {"version", k_version}};
    json["key"] = key;
    json.update(body);
    write_file_atomically(path, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::optional<Json> read_partial_json(const std::string &path, const Json &key) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        return {};
    }
    Json json = parse_json(read_text_file(path, k_max_bytes), path);
    if (!has(json, "format", k_format) || !has(json, "version", k_version) ||
        !json.contains("key")) {
        fail_no_partial(path, "another format or version");
    }
    const std::string other = first_difference(key, json.at("key"));
    if (!other.empty()) {
        fail(ErrorKind::usage,
             "{} is of a search with another \"{}\": continue that one, write to another -o, or "
             "start again with --restart",
             path, other);
    }
    return json;
}

void remove_partial(const std::string &path) {
    std::error_code error;
    std::filesystem::remove(path, error);
}

void fail_no_partial(const std::string &path, const std::string &reason) {
    fail(ErrorKind::format, "{} is no partial search ({}): remove it", path, reason);
}

Json json_number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

std::string today_utc() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
    return text;
}

}  // namespace orthorank
