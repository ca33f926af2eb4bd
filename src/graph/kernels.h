// Which kernels an engine's matrix products take on a CPU. Plain data.
#pragma once

#include <string>

#include "graph/cpu_level.h"

namespace orthorank {

// exact: ggml's alone, whose bits libllama has too. fast: for prompts ours (cpu_matmul.h), as the
// processor has them.
enum class Kernels { exact, fast };

// "exact" or "fast". Throws Error{usage} that lists them.
Kernels kernels_from_name(const std::string &name);

// What numbers depend on: "exact", or "fast" with the level, such as "fast (AMX)".
std::string kernels_text(Kernels kernels);

// A call with fewer rows in all keeps ggml's kernels: they unpack less.
constexpr int k_min_fast_rows = 32;

}  // namespace orthorank
