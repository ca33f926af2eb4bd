// Which file a path leads to, whatever it is called: links, hard links and other spellings of one
// file are equal. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orthorank {

struct FileIdentity {
    uint64_t device = 0;
    uint64_t inode = 0;  // of the file; of its folder for one that does not exist yet
    std::string name;    // in that folder; empty for a file that exists

    bool operator==(const FileIdentity &) const = default;
};

// Nothing for devices and sockets, which several may read and write, and for a path in a folder
// that does not exist.
std::optional<FileIdentity> file_identity(const std::string &path);

}  // namespace orthorank
