// Copies of a GGUF file with small changes: layers left out, a plan put into the metadata. Tensor
// data is copied as it is. Thread-safe. Throws what GgufFile throws for the input, Error{file} for
// the output, which appears under its name only when it is whole.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/float_tensors.h"

namespace orthorank {

// The metadata key of a plan inside a model: the plan file's JSON as a string.
constexpr const char *k_plan_key = "orthorank.plan";

struct GgufChanges {
    // Blocks to leave out, ascending, not all of them. The rest are renumbered, block_count and
    // arrays of one entry a layer are cut, a plan in the metadata (for the old layers) is dropped.
    std::vector<int> removed_layers;
    std::string plan;  // written to k_plan_key in place of one that is there; empty: not
    std::vector<FloatTensor> plan_tensors = {};  // of that plan, written as metadata arrays
    FloatMetadata plan_metadata = {};            // what describes them
};

// The plan's text in a model's file, if there is one.
std::optional<std::string> plan_text_in(const std::string &gguf_path);

// Returns the new file's bytes. on_part is called after each part that is copied; what it throws
// ends the work, and nothing is left behind. Throws Error{usage} as refuse_gguf_output does.
int64_t export_gguf(const std::string &from, const std::string &to, const GgufChanges &changes,
                    const std::function<void()> &on_part = {});

}  // namespace orthorank
