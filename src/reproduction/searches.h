// The searches of a reproduction: each order of layers is found once, kept round by round, and
// gives all plans that are its beginnings.
#pragma once

#include <string>

#include "reproduction/workshop.h"

namespace orthorank {

// The rounds that the order of this search must have for the plans that are needed; 0: none is.
int rounds_needed(const Recipes &recipes, const std::set<std::string> &plans,
                  const std::string &search);

// Those of an earlier run.
int rounds_kept(const Workshop &workshop, const std::string &search);

// Goes on from what is kept until there are n_rounds, then makes the needed plans of this search:
// as findings and as files in DIR/plans.
void run_search(Workshop &workshop, const std::string &search, int n_rounds,
                const std::set<std::string> &plans, const OnFraction &on_fraction);

}  // namespace orthorank
