// What is observed of the model itself: a dense pass, one layer changed, and which rows a plan
// picks. Kept and found as measurements are.
#pragma once

#include "reproduction/workshop.h"

namespace orthorank {

// Figures 2, 3 and 9 to 12, and the statements about them.
void observe_states(Workshop &workshop, const OnFraction &on_fraction);
// Figures 4 and 13: one sweep a window.
void observe_sweep(Workshop &workshop, const OnFraction &on_fraction);
double part_of_sweep_kept(const Workshop &workshop);
// Figure 5: the rows that the plan "orthorank-20" picks of the text's first ones.
void observe_rows(Workshop &workshop);

// The mean over windows of every loss; not empty.
LayerSweep mean_sweep(const std::vector<LayerSweep> &sweeps);

}  // namespace orthorank
