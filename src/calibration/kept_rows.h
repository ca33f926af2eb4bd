// How many of a prompt's last rows a plan computes in any case: the choice between several numbers,
// and what the provenance says of it (docs/formats.md). Plain data.
#pragma once

#include <vector>

#include "select/plan.h"

namespace orthorank {

// One number of rows that a plan for prompts might keep, and what it costs with them.
struct KeptRows {
    int keep_last = 0;
    double cost = 0;  // of the objective: a loss, or with --joint a divergence
};
// The plan with those of the choices that cost least, the fewest among equals. Its provenance
// records them all, the first as the number that the layers were found with, and the cost of the
// best as the plan's loss where it has one. Not empty.
void keep_cheapest(Plan &plan, const std::vector<KeptRows> &choices);

// The plan with another number than it was found with; its provenance, if there is one, says both.
void keep_other_rows(Plan &plan, int keep_last);

// Takes back what the provenance says of the costs of a plan that has become another one.
void forget_costs(Plan &plan);

}  // namespace orthorank
