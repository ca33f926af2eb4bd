// How many of a prompt's last rows a plan computes in any case: the choice between several numbers.
// Plain data.
#pragma once

#include <vector>

#include "select/plan.h"

namespace orthorank {

// One number of rows that a plan for prompts might keep, and what it costs with them.
struct KeptRows {
    int keep_last = 0;
    double cost = 0;  // of the objective: a loss, or with --joint a divergence
};
// The plan with those of the choices that cost least, the fewest among equals; its provenance
// records them all. Not empty.
void keep_cheapest(Plan &plan, const std::vector<KeptRows> &choices);

}  // namespace orthorank
