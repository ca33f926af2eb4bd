#include "base/resident_memory.h"

#include <fstream>
#include <sstream>
#include <string>

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

}  // namespace orthorank
