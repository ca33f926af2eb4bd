#include "cli/spin_limit.h"

#ifdef __linux__
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#endif

namespace orthorank {

#ifdef __linux__
void limit_spinning(char **argv) {
    constexpr const char *k_spins = "5000";  // longer than threads wait when nothing disturbs them
    if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) {
        return;
    }
    // The file's own path rather than /proc/self/exe, so that ps and top show its name.
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (!error && setenv("GOMP_SPINCOUNT", k_spins, 1) == 0) {
        execv(program.c_str(), argv);
    }
}
#else
void limit_spinning(char **) {}
#endif

}  // namespace orthorank
