// A file of lines that a long run appends to and an interrupted run goes on with. Beside FILE
// stands FILE.run.json, which says what made it: only a run with the same fields may go on.
// Owned by one thread.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace orthorank {

class LineLog {
 public:
    // Keeps the first n_bytes of what is there (whole lines; the rest was not finished) and appends
    // from then on. Throws Error{usage}, with the file as it was, when there is anything and a
    // field of `run` differs from that in FILE.run.json, or that file is missing; Error{file},
    // Error{format}.
    LineLog(const std::string &path, size_t n_bytes, const nlohmann::ordered_json &run);

    // Writes the line (without its end) out at once. Throws Error{file}.
    void append(std::string_view line);

 private:
    struct Close {
        void operator()(std::FILE *file) const { std::fclose(file); }
    };
    std::string path_;
    std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace orthorank
