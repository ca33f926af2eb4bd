#include "base/resident_memory.h"

#include <fstream>
#include <sstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace orthorank {

namespace {

// A line of a file such as /proc/self/status, in bytes.
std::optional<int64_t> bytes_in(const std::string &path, const std::string &wanted) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string name, unit;
        int64_t n = 0;
        if (words >> name >> n >> unit && name == wanted && unit == "kB") {
            return n * 1024;
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<int64_t> peak_resident_bytes() {
    return bytes_in("/proc/self/status", "VmHWM:");
}

std::optional<int64_t> resident_bytes() {
    return bytes_in("/proc/self/status", "VmRSS:");
}

std::optional<int64_t> available_bytes(const std::string &path) {
    return bytes_in(path, "MemAvailable:");
}

#ifdef __GLIBC__
void reuse_freed_memory() {
    mallopt(M_MMAP_THRESHOLD, 8 << 10);
    mallopt(M_ARENA_MAX, 1);
}

void return_freed_memory() {
    malloc_trim(0);
}
#else
void reuse_freed_memory() {}
void return_freed_memory() {}
#endif

}  // namespace orthorank
