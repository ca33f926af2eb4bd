// `perplexity --record`: what a plan was measured to cost, in the plan file.
#pragma once

#include <span>
#include <string>

#include "evaluation/perplexity.h"
#include "evaluation/text_sets.h"
#include "model/model.h"

namespace orthorank {

// Throws Error{usage} for a set of one window: its loss has no standard error.
void check_can_be_recorded(std::span<const TextSet> sets);

// Puts the result's ratio to dense into the plan file at path, in place of one of the same text,
// weights and kind. Throws as read_plan_files and replace_plan_json do.
void record_loss(const std::string &path, const PerplexityResult &result, const TextSet &set,
                 const Model &model);

}  // namespace orthorank
