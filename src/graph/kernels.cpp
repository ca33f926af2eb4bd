#include "graph/kernels.h"

#include <ggml-backend.h>

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

CpuLevel cpu_level_of(ggml_backend_device *device, Kernels kernels) {
    const bool is_cpu = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
    return is_cpu && kernels == Kernels::fast ? best_cpu_level() : CpuLevel::none;
}

}  // namespace orthorank
