// Where results go: the one way in which files are written, text and models alike, so that a reader
// never sees half a file. Messages name the path and the system's reason. Owned by one thread;
// several may write the same path, of which the last to finish is seen.
//
// A new file has a temporary name beside the path (PATH.<pid>-<n>.partial) until it is whole. A
// symbolic link is followed, never replaced: the file that it leads to is. A device or a pipe is
// written into, and an open descriptor (/dev/stdout, /dev/fd/3) is used as it is: what a log has is
// not cut.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/descriptor.h"

namespace orthorank {

class OutputFile {
 public:
    // Throws Error{file} where check_writable does.
    explicit OutputFile(const std::string &path);
    // Unless it was finished, nothing is left behind, and what was there is as it was.
    ~OutputFile();
    OutputFile(const OutputFile &) = delete;
    OutputFile &operator=(const OutputFile &) = delete;

    // Throws Error{file}.
    void write(std::string_view bytes);
    // How many were written.
    int64_t n_bytes() const { return n_bytes_; }
    // For a library that wants a name to write to, in place of write(): the temporary one. Throws
    // Error{file} where there is none, because the path is a device, a pipe or a descriptor.
    const std::string &temporary_name() const;
    // On disk and under its name. Throws Error{file}.
    void finish();

 private:
    [[noreturn]] void fail_write(int code) const;

    std::string path_;     // as it was given
    std::string target_;   // what is written; empty: a descriptor or a device, in place
    std::string partial_;  // its temporary name
    Descriptor file_;
    int64_t n_bytes_ = 0;
};

// Throws Error{file} now for a path that could not be written after hours of work: its folder does
// not exist, is not writable or full, or it is a folder itself.
void check_writable(const std::string &path);

// Whether what is written there becomes a file: no device, pipe or open descriptor.
bool becomes_file(const std::string &path);

// The whole file in one call. Throws Error{file}.
void write_file_atomically(const std::string &path, std::string_view content);

}  // namespace orthorank
