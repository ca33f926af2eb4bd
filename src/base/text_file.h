// Whole files as strings: reading, and writing so that a reader never sees half a file. Messages
// name the path and the system's reason. May be called from several threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orthorank {

// The file's bytes. Throws Error{file} if it is missing, unreadable, a directory, or larger than
// max_bytes (so that nothing unbounded is read from a pipe or device either).
std::string read_text_file(const std::string &path, uint64_t max_bytes = UINT64_MAX);

// Writes to a temporary name (path.<pid>-<n>.partial) in the same directory, then renames. What is
// there already and is no regular file (/dev/stdout, a pipe, a symbolic link) is written to as it
// is: renaming would replace the device or the link. Throws Error{file}; nothing is left behind.
void write_file_atomically(const std::string &path, std::string_view content);

}  // namespace orthorank
