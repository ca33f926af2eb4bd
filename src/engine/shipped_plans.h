// Plans that are there without being named: the one stored inside a model's file, and those shipped
// in a folder. They are found by the model's fingerprint and a sparsity.
// Thread-safe. A file there that is no plan is left out, with a note.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "select/plan.h"

namespace orthorank {

// The plan in the metadata of a model's file, if there is one. Throws Error{format}.
std::optional<Plan> embedded_plan(const Model &model);

// The plan files of a folder, by name; none where there is no such folder.
std::vector<std::filesystem::path> plan_files_in(const std::string &plans_dir);

// What a plan is wanted for: rows of prompts, whose logits nobody reads, or every row.
enum class PlanPurpose { prompt, every_row };

struct FoundPlan {
    Plan plan;
    std::string path;  // or the model's file
    // What a user should know: calibrated on another file type, files that are no plans. Mostly
    // empty.
    std::vector<std::string> notes;
};

// The plan of that sparsity for this model: the embedded one, else of those in plans_dir the ones
// made for the purpose (Plan::apply prefill for prompts, another for every row) before others, then
// those made for this sparsity (provenance) before others, then the one with the smallest loss
// recorded for the purpose (Plan::losses, the mean of the texts), then those with corrections, then
// selection before removal, then joint, sleb, others. A plan is of the sparsity that it was made
// for, and of its effective one to 1.5 points. Only the numbers of the plan found are read. Throws
// Error{usage} that says how to make one, and as read_plan_files does for the one found.
FoundPlan plan_for_sparsity(const Model &model, double sparsity, const std::string &plans_dir,
                            PlanPurpose purpose = PlanPurpose::every_row);

// The sparsities that the plans there are of, ascending.
std::vector<double> known_sparsities(const Model &model, const std::string &plans_dir);

}  // namespace orthorank
