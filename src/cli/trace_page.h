// A trace as a page: a map of tokens and layers. Pure functions.
#pragma once

#include <string>

#include "session/trace.h"

namespace orthorank {

// One map for each policy of the plan's selecting layers: the score as colour, which rows were
// computed and corrected, and by hovering each token, score, rank and what decided. command: as it
// was typed.
std::string trace_page(const TraceResult &result, const std::string &command);

}  // namespace orthorank
