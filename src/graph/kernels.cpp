#include "graph/kernels.h"

#include "base/error.h"

namespace orthorank {

Kernels kernels_from_name(const std::string &name) {
    if (name == "exact") return Kernels::exact;
    if (name == "fast") return Kernels::fast;
    fail(ErrorKind::usage, "unknown kernels '{}' (known: exact, fast)", name);
}

std::string kernels_text(Kernels kernels) {
    return kernels == Kernels::exact ? "exact"
                                     : fmt::format("fast ({})", name_of(best_cpu_level()));
}

}  // namespace orthorank
