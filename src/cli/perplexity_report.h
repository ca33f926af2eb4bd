// What `perplexity` prints and writes of its results.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "evaluation/perplexity.h"
#include "evaluation/text_sets.h"

namespace orthorank {

// Of one arm on one set (docs/commands.md).
nlohmann::ordered_json result_json(const PerplexityResult &result, const TextSet &set,
                                   bool has_dense);
nlohmann::ordered_json sets_json(std::span<const TextSet> sets);

// The arms of one set as a table, and the divergences where they were measured.
void print_results(std::span<const PerplexityResult> results, const TextSet &set, bool has_dense);

}  // namespace orthorank
