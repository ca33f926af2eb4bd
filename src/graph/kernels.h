// Which kernels an engine's matrix products take on a CPU. Plain data.
#pragma once

#include <string>

#include "graph/cpu_level.h"

struct ggml_backend_device;

namespace orthorank {

// exact: ggml's alone, whose bits libllama has too. fast: ours (cpu_matmul.h, cpu_rows.h,
// cpu_row_attention.h), as the processor has them. The others are ours with no more than that level
// of the processor (cpu_level.h), to measure what it gives.
enum class Kernels { exact, avx2, avx512, avx512_bf16, amx, fast };

// "exact", "fast", or a level's name: "avx2", "avx512", "avx512-bf16", "amx". Throws Error{usage}
// that lists them, or names the highest level that this processor has.
Kernels kernels_from_name(const std::string &name);

// What numbers depend on: "exact", or "fast" with the level, such as "fast (AMX)".
std::string kernels_text(Kernels kernels);

// The level that these kernels take on a CPU; none: ggml's.
CpuLevel cpu_level_of(Kernels kernels);

// The level of our own kernels on this device: none where it is no CPU or `kernels` are exact.
CpuLevel cpu_level_of(ggml_backend_device *device, Kernels kernels);

// A call with fewer rows in all takes the kernels for few rows, and so do all steps of decoding.
constexpr int k_min_panel_rows = 32;

}  // namespace orthorank
