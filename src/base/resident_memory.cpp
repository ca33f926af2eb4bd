#include "base/resident_memory.h"

#include <fstream>
#include <sstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace orthorank {

std::optional<int64_t> peak_resident_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        std::istringstream words(line);
        std::string name, unit;
        int64_t n = 0;
        if (words >> name >> n >> unit && name == "VmHWM:" && unit == "kB") {
            return n * 1024;
        }
    }
    return std::nullopt;
}

#ifdef __GLIBC__
void reuse_freed_memory() {
    mallopt(M_MMAP_THRESHOLD, 32 << 10);
    mallopt(M_ARENA_MAX, 1);
}
#else
void reuse_freed_memory() {}
#endif

}  // namespace orthorank
