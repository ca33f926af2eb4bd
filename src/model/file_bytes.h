// The bytes of a file, mapped or read on demand. Owns the file descriptor and the mapping; spans
// into a mapping are valid as long as this object lives. Not to be read from several threads at
// once when not mapped (the scratch buffer is the caller's, the rest is const).
// Throws Error{file}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orthorank {

class FileBytes {
 public:
    FileBytes(const std::string &path, bool use_mmap);
    ~FileBytes();
    FileBytes(const FileBytes &) = delete;
    FileBytes &operator=(const FileBytes &) = delete;

    const std::string &path() const { return path_; }
    int64_t size() const { return size_; }
    bool is_mapped() const { return map_ != nullptr; }
    // The mapping's first byte (page aligned), or null.
    std::byte *map() const { return map_; }
    // n bytes from offset: of the mapping, or read into `scratch`.
    std::span<const std::byte> bytes(int64_t offset, int64_t n,
                                     std::vector<std::byte> &scratch) const;
    // The bytes will not be needed soon: whole pages inside the range give their memory back (they
    // are read again when touched).
    void drop(int64_t offset, int64_t n) const;

 private:
    std::string path_;
    int fd_ = -1;
    int64_t size_ = 0;
    std::byte *map_ = nullptr;
};

}  // namespace orthorank
