// What our own kernels may use of this processor, found when the program runs: the objects of each
// level are compiled with its instructions, everything else for any x86-64-v2.
#pragma once

#include <string>
#include <vector>

namespace orthorank {

// Each has what those before it have.
enum class CpuLevel {
    none,         // no kernel of ours: ggml's run
    avx2,         // with FMA and F16C
    avx512,       // F, BW, DQ, VL and VNNI
    avx512_bf16,  // products of bfloat16
    amx           // and in tiles (AMX-BF16)
};

// "none", "AVX2", "AVX-512 VNNI", "AVX-512 VNNI BF16", "AMX".
const char *name_of(CpuLevel level);
// The highest that this processor and its system have; asks the system for the tiles' registers
// once. Thread-safe.
CpuLevel best_cpu_level();
// From avx2 to amx, whether the processor has them or not.
const std::vector<CpuLevel> &all_cpu_levels();

}  // namespace orthorank
