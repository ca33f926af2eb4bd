#include "graph/kernels.h"

#include <ggml-backend.h>

#include "base/error.h"

namespace orthorank {

namespace {

struct Named {
    const char *name;
    Kernels kernels;
    CpuLevel level;
};

constexpr Named k_levels[] = {{"avx2", Kernels::avx2, CpuLevel::avx2},
                              {"avx512", Kernels::avx512, CpuLevel::avx512},
                              {"avx512-bf16", Kernels::avx512_bf16, CpuLevel::avx512_bf16},
                              {"amx", Kernels::amx, CpuLevel::amx}};

}  // namespace

Kernels kernels_from_name(const std::string &name) {
    if (name == "exact") return Kernels::exact;
    if (name == "fast") return Kernels::fast;
    for (const Named &level : k_levels) {
        if (name == level.name && level.level > best_cpu_level()) {
            fail(ErrorKind::usage,
                 "kernels '{}' need {}, which this processor does not have (its level: {})", name,
                 name_of(level.level), name_of(best_cpu_level()));
        }
        if (name == level.name) return level.kernels;
    }
    fail(ErrorKind::usage,
         "unknown kernels '{}' (known: exact, fast; avx2, avx512, avx512-bf16, amx)", name);
}

std::string kernels_text(Kernels kernels) {
    return kernels == Kernels::exact ? "exact"
                                     : fmt::format("fast ({})", name_of(cpu_level_of(kernels)));
}

CpuLevel cpu_level_of(Kernels kernels) {
    if (kernels == Kernels::exact) return CpuLevel::none;
    for (const Named &level : k_levels) {
        if (level.kernels == kernels) return level.level;
    }
    return best_cpu_level();
}

CpuLevel cpu_level_of(ggml_backend_device *device, Kernels kernels) {
    const bool is_cpu = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
    return is_cpu ? cpu_level_of(kernels) : CpuLevel::none;
}

}  // namespace orthorank
