// What the fuzzers share: bytes as a file, and what a reader may do with them.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "support/paths.h"

namespace orthorank::test {

// The path of a file that holds these bytes until the next call.
inline std::string as_file(const uint8_t *data, size_t size) {
    static const TempDir dir;
    const std::string path = dir.file("input");
    write_bytes(path, std::string(reinterpret_cast<const char *>(data), size));
    return path;
}

// Reading succeeds or throws Error, and nothing else.
template <typename Function>
void may_refuse(Function read) {
    try {
        read();
    } catch (const Error &) {
    }
}

// A promise that does not hold ends the process, as a fault that a sanitizer sees does.
inline void promise(bool holds) {
    if (!holds) {
        __builtin_trap();
    }
}

}  // namespace orthorank::test
