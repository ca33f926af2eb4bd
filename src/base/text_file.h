// Whole files as strings; base/output_file.h writes them. Messages name the path and the system's
// reason. May be called from several threads.
#pragma once

#include <cstdint>
#include <string>

namespace orthorank {

// The file's bytes; of a path that names an open descriptor (/dev/stdin, /dev/fd/3) what is left to
// read there. Throws Error{file} if it is missing, unreadable, a directory, or larger than
// max_bytes (so that nothing unbounded is read from a pipe or device either).
std::string read_text_file(const std::string &path, uint64_t max_bytes = UINT64_MAX);

}  // namespace orthorank
