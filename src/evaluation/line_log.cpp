#include "evaluation/line_log.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/text_file.h"
#include "eval/records.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

// What stands in FILE.run.json with what this run adds; a field that is in both must be equal.
json merged_run(const std::string &path, const std::string &run_path, const json &run) {
    if (!has_file(run_path)) {
        fail(ErrorKind::usage,
             "{} is there, but {} that says what made it is missing: name another file", path,
             run_path);
    }
    json merged = json::parse(read_text_file(run_path), nullptr, false);
    if (!merged.is_object()) {
        fail(ErrorKind::format, "{}: not a JSON object", run_path);
    }
    for (const auto &[name, value] : run.items()) {
        const bool may_be_new = name.starts_with("plan ");  // further plans may be added
        if (merged.contains(name) ? merged[name] != value : !may_be_new) {
            fail(ErrorKind::usage,
                 "{} was made by another run, whose {} differs (see {}): name another file", path,
                 name, run_path);
        }
        merged[name] = value;
    }
    return merged;
}

}  // namespace

LineLog::LineLog(const std::string &path, size_t n_bytes, const json &run) : path_(path) {
    const std::string run_path = path + ".run.json";
    // A rest without a line end counts too: it may be all that a file of another program has.
    std::error_code no_size;
    const bool is_empty = !has_file(path) || std::filesystem::file_size(path, no_size) == 0;
    const json merged = is_empty ? run : merged_run(path, run_path, run);
    write_file_atomically(run_path, merged.dump(2) + "\n");
    std::error_code error;
    if (has_file(path)) {
        std::filesystem::resize_file(path, n_bytes, error);
    }
    if (error) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path, error.message());
    }
    file_.reset(std::fopen(path.c_str(), "ab"));
    if (!file_) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path, std::strerror(errno));
    }
}

void LineLog::append(std::string_view line) {
    const std::string whole = std::string(line) + "\n";
    if (std::fwrite(whole.data(), 1, whole.size(), file_.get()) != whole.size() ||
        std::fflush(file_.get()) != 0) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path_, std::strerror(errno));
    }
}

}  // namespace orthorank
