#include "graph/cpu_level.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace orthorank {

namespace {

#if defined(__x86_64__)

bool has_tiles() {
#ifdef __linux__
    constexpr unsigned k_leaf = 7;
    constexpr unsigned k_bf16 = 1u << 22;
    constexpr unsigned k_tile = 1u << 24;
    constexpr long k_request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long k_tile_data = 18;               // XFEATURE_XTILEDATA
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(k_leaf, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & k_bf16) != 0 &&
           (edx & k_tile) != 0 && ::syscall(SYS_arch_prctl, k_request_permission, k_tile_data) == 0;
#else
    return false;
#endif
}

// clang 14's __builtin_cpu_supports does not know it.
bool has_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

CpuLevel find_level() {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
        return CpuLevel::none;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni")) {
        return CpuLevel::avx2;
    }
    if (!__builtin_cpu_supports("avx512bf16")) {
        return CpuLevel::avx512;
    }
    return has_tiles() ? CpuLevel::amx : CpuLevel::avx512_bf16;
}

#else

CpuLevel find_level() {
    return CpuLevel::none;
}

#endif

}  // namespace

const char *name_of(CpuLevel level) {
    switch (level) {
        case CpuLevel::none:
            return "none";
        case CpuLevel::avx2:
            return "AVX2";
        case CpuLevel::avx512:
            return "AVX-512 VNNI";
        case CpuLevel::avx512_bf16:
            return "AVX-512 VNNI BF16";
        case CpuLevel::amx:
            return "AMX";
    }
    return "none";
}

CpuLevel best_cpu_level() {
    static const CpuLevel level = find_level();
    return level;
}

const std::vector<CpuLevel> &all_cpu_levels() {
    static const std::vector<CpuLevel> levels = {CpuLevel::avx2, CpuLevel::avx512,
                                                 CpuLevel::avx512_bf16, CpuLevel::amx};
    return levels;
}

}  // namespace orthorank
