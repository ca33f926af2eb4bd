// Plans with everything that belongs to them: the JSON, and the numbers of corrections and probes
// in a GGUF file beside it or inside a model's file (docs/formats.md). Every command reads and
// writes plans by these functions. Thread-safe. Throws Error{file} and Error{format} that name the
// file.
#pragma once

#include <string>

#include "model/export_model.h"
#include "select/plan.h"

namespace orthorank {

// PLAN.json -> PLAN.gguf, in the same folder: where a plan's numbers are unless it says otherwise.
std::string plan_tensors_path(const std::string &plan_path);

// A plan file and, where it needs one, the file of its numbers, which must have the hash that the
// plan says, if it says one.
Plan read_plan_files(const std::string &path);

// The plan file alone. Corrections and probes are there, with their ranks, but without numbers: for
// choosing among plans, not for running one.
Plan read_plan_head(const std::string &path);

// Throws Error{usage} when writing a plan there would replace what is not its own: a GGUF file
// under the plan's name, or, for a plan with numbers, another file than a plan's numbers under
// theirs.
void check_plan_output(const std::string &path, bool has_numbers);

// Is there a file of a plan's numbers?
bool is_plan_numbers(const std::string &path);

// Writes the numbers, if the plan has any, then the JSON, each whole or not at all, after
// check_plan_output. type: of the corrections' matrices.
void write_plan_files(const Plan &plan, const std::string &path,
                      CorrectionType type = CorrectionType::f16);

// Replaces the JSON of a plan that was read from there and whose layers are the same: its numbers
// stay the file that they are. Throws Error{file}.
void replace_plan_json(const Plan &plan, const std::string &path);

// The bytes that the numbers take in a file, at this type.
int64_t plan_number_bytes(const Plan &plan, CorrectionType type = CorrectionType::f16);

// What export_gguf needs to store the plan with its numbers in a model's file, and its reading: a
// model's file whose plan's text is `text`; `name` for messages.
GgufChanges embedding_of(const Plan &plan, CorrectionType type = CorrectionType::f16);
Plan read_embedded_plan(const std::string &model_path, const std::string &text,
                        const std::string &name);

}  // namespace orthorank
