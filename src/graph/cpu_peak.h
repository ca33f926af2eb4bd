// What this machine does at most, measured: the roof that products and reads run under (Williams,
// Waterman, Patterson 2009, the roofline model).
#pragma once

#include <optional>

#include "graph/cpu_level.h"

namespace orthorank {

struct MachinePeak {
    // A level's widest products with all operands in registers; nothing for the level none.
    std::optional<double> flops_per_second;
    double bytes_per_second = 0;  // read from memory that lies on huge pages
};

// Best of several rounds with n_threads threads, in about a second; run nothing else meanwhile.
// Takes n_threads * 256 MiB for its time.
MachinePeak machine_peak(CpuLevel level, int n_threads);

}  // namespace orthorank
