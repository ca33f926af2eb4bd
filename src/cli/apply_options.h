// --apply and --keep-last: where a plan's selection applies, in place of what the plan itself says.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/shared_options.h"
#include "select/plan.h"

namespace orthorank {

struct ApplyArguments {
    std::string apply;  // empty: the plan's
    std::optional<int> keep_last;

    // Throws Error{usage} for a mode that is not known, and for --keep-last where no prompt is
    // under the plan.
    void check() const;
    // The plan that --sparsity should find: one for prompts with --apply prefill, for every row
    // with another, else `usual`.
    PlanPurpose purpose(PlanPurpose usual) const;
    // The plan as these options have it. Throws Error{usage} where --keep-last meets a plan
    // for decode alone.
    Plan applied_to(Plan plan) const;
};

// Both options, of commands whose prompt is one and whose decoded tokens are others.
void add_apply_options(CLI::App &command, ApplyArguments &arguments);
// Of commands that score every row unless the plan or --apply prefill says that it is for prompts.
void add_scoring_apply_options(CLI::App &command, ApplyArguments &arguments);
void add_keep_last_option(CLI::App &command, ApplyArguments &arguments);

// The plan for text whose rows are all scored, where no row is more a prompt's last one than
// another: without keep_last, which is said on standard error.
Plan for_every_row(Plan plan);
// Says that alone, of a plan that has some.
void say_without_kept_rows(const Plan &plan);

// Throws Error{usage} for a plan for decode alone, which nothing that is scored would be under.
void refuse_decode_plan(const Plan &plan);

// The plans of a command with add_scoring_apply_options, dense first if wanted; `usual`: what
// --sparsity finds without --apply.
std::vector<Plan> read_scored_plans(const Model &model, const std::vector<std::string> &paths,
                                    bool with_dense, const ApplyArguments &arguments,
                                    PlanPurpose usual = PlanPurpose::every_row);

// What a plan costs by its own record, for the purpose at hand, and whether this prompt is longer
// than what was measured (0: there is none); empty: nothing was.
std::string loss_text(const Plan &plan, PlanPurpose purpose, size_t n_prompt);

}  // namespace orthorank
