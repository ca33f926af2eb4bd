// `info --plan`: what a plan does, where it applies, what it gains at most and what it was measured
// to cost.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/shared_options.h"

namespace orthorank {

// A plan and whether it may be used with the model.
struct PlanInfo {
    Plan plan;
    std::string misfit;  // empty: it fits
};

// A file's, or "sparsity:30%": the one that `generate` would take. Throws as read_plan_files and
// plan_for_sparsity do; a file's that does not fit the model is no error.
PlanInfo plan_info(const Model &model, const std::string &path);

// n_ctx: tokens of the prompt that the bound is of.
nlohmann::ordered_json plan_json(const PlanInfo &info, const Model &model, int n_ctx);
void print_plan(const PlanInfo &info, const Model &model, int n_ctx);

}  // namespace orthorank
