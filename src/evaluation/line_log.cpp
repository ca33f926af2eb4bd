#include "evaluation/line_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/output_file.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "eval/records.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

std::string run_path_of(const std::string &path) {
    return path + ".run.json";
}

bool may_be_new(std::string_view name) {
    return name.starts_with(k_plan_field) || name.starts_with(k_documents_field);
}

// What stands in FILE.run.json with what this run adds; a field that is in both must be equal.
json merged_run(const std::string &path, const json &run) {
    const std::string run_path = run_path_of(path);
    if (!has_file(run_path)) {
        fail(ErrorKind::usage,
             "{} is there, but {} that says what made it is missing: name another file", path,
             run_path);
    }
    json merged = parse_json(read_text_file(run_path), run_path);
    if (!merged.is_object()) {
        fail(ErrorKind::format, "{}: not a JSON object", run_path);
    }
    for (const auto &[name, value] : run.items()) {
        if (merged.contains(name) ? merged[name] != value : !may_be_new(name)) {
            fail(ErrorKind::usage,
                 "{} was made by another run, whose {} differs (see {}): name another file", path,
                 name, run_path);
        }
        merged[name] = value;
    }
    return merged;
}

Descriptor open_at_end(const std::string &path) {
    Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!file.is_open()) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path, errno_text(errno));
    }
    return file;
}

}  // namespace

LineLog::LineLog(const std::string &path, const json &run)
    : path_(path),
      lock_(path, path, FileLock::After::keep),
      run_(run),
      lines_(read_text_file(path)),
      file_(open_at_end(path)) {
    // A rest without a line end counts too: it may be all that a file of another program has.
    if (!lines_.empty()) {
        run_ = merged_run(path, run);
    }
    lines_.resize(lines_.rfind('\n') + 1);  // npos + 1 is 0
}

void LineLog::start() {
    write_file_atomically(run_path_of(path_),
                          run_.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    if (::ftruncate(file_.fd(), static_cast<off_t>(lines_.size())) != 0) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path_, errno_text(errno));
    }
}

void LineLog::append(std::string_view line) {
    const int code = write_all(file_.fd(), std::string(line) + "\n");
    if (code != 0) {
        fail(ErrorKind::file, "{}: cannot be written: {}", path_, errno_text(code));
    }
}

}  // namespace orthorank
