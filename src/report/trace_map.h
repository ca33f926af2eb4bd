// A trace drawn: tokens across, selecting layers down, each cell the score as colour with a mark
// for what became of the row. The one map that the page of `trace --html` and the server's have.
// Pure functions.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "session/trace.h"

namespace orthorank {

constexpr size_t k_all_tokens = std::numeric_limits<size_t>::max();

// SVG texts in reading order: strips of tokens, one after the other for each policy, whose strips
// share their scale. Pointing at a cell shows token, score, rank and rule. max_tokens: of the first
// ones. No selecting layers: none.
std::vector<std::string> trace_maps(const TraceResult &result, size_t max_tokens = k_all_tokens);

// What the marks mean, and what is not shown: a paragraph of plain text.
std::string trace_map_legend(const TraceResult &result, size_t max_tokens = k_all_tokens);

}  // namespace orthorank
