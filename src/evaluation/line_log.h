// A file of lines that a long run appends to and an interrupted run goes on with. Beside FILE
// stands FILE.run.json, which says what made it: only a run with the same fields may go on, and one
// at a time. Owned by one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "base/file_lock.h"

namespace orthorank {

// Fields of a run whose name begins so may be added to a file by a later run: another plan, another
// task.
constexpr const char *k_plan_field = "plan ";
constexpr const char *k_documents_field = "documents ";

class LineLog {
 public:
    // Locks the file, reads it, and changes nothing in it. Throws Error{usage} when there is
    // anything and a field of `run` differs from that in FILE.run.json, or that file is missing;
    // Error{file} when another run has it; Error{format}.
    LineLog(const std::string &path, const nlohmann::ordered_json &run);

    // The whole lines that are there. A rest without a line end was not finished.
    const std::string &lines() const { return lines_; }
    // Once they were understood: cuts the rest off, writes FILE.run.json. Throws Error{file}.
    void start();
    // Writes the line (without its end) out at once. Throws Error{file}.
    void append(std::string_view line);

 private:
    std::string path_;
    FileLock lock_;
    nlohmann::ordered_json run_;
    std::string lines_;
    Descriptor file_;
};

}  // namespace orthorank
