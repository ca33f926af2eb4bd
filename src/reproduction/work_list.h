// The pieces of work behind some tables and figures, each once, in the order in which they are
// done, with estimates of their time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "reproduction/needs.h"
#include "reproduction/workshop.h"

namespace orthorank {

struct Work {
    std::string name;
    double seconds = 0;  // expected, of what no earlier run has done
    std::function<void(const OnFraction &)> run;
};

// For needs whose sources the workshop has; what has none is left out. Throws Error{usage} for
// searches kept under other settings.
std::vector<Work> work_list(Workshop &workshop, const Needs &needs);

// Seconds that the dense model's arithmetic takes here, one FLOP: a prefill of a few hundred tokens
// is timed.
double seconds_per_flop(Workshop &workshop);

}  // namespace orthorank
