// The file from which an interrupted search continues (docs/formats.md, Partial file): its frame,
// and the key that says which search it is of. Functions on plain data; they throw Error{file}.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/file_lock.h"

namespace orthorank {

// The partial file of a plan: its path with ".partial".
std::string partial_path(const std::string &plan_path);

// For the time of a search: another one on the same file would be mixed with it. Throws Error{file}
// when it is in use.
FileLock lock_partial(const std::string &path);

// Writes {format, version, key} and what `body` has.
void write_partial_json(const std::string &path, const nlohmann::ordered_json &key,
                        const nlohmann::ordered_json &body);
// What was written there; nothing if there is no such file. Throws Error{usage} that names the
// first entry of the key that differs, Error{format} for another format or version.
std::optional<nlohmann::ordered_json> read_partial_json(const std::string &path,
                                                        const nlohmann::ordered_json &key);
void remove_partial(const std::string &path);

// Error{format}: what a reader says of a file whose entries are not as they should be.
[[noreturn]] void fail_no_partial(const std::string &path, const std::string &reason);

// A number for JSON, which has no NaN and no infinity: null instead.
nlohmann::ordered_json json_number(double value);

// The date in UTC, such as 2026-01-31.
std::string today_utc();

}  // namespace orthorank
