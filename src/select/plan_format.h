// What the reader and the writer of plan files share: the format's name and its versions.
#pragma once

#include <cstdint>

#include <string>

#include "base/error.h"
#include "select/plan.h"

namespace orthorank {

constexpr const char *k_plan_format = "orthorank-plan";
constexpr int64_t k_plain_version = 1;    // neither corrections nor probes
constexpr int64_t k_numbers_version = 2;  // with them
// With apply, keep_last, measured losses, or a policy that came with plans for prompts.
constexpr int64_t k_prompt_version = 3;

inline bool needs_prompt_version(ScoreKind kind) {
    return kind == ScoreKind::inherit || kind == ScoreKind::query ||
           kind == ScoreKind::attention_output;
}

// Throws an Error of this kind for a plan that keeps rows of prompts and applies to decode alone.
// who: what has it, such as the file.
void check_kept_rows(const Plan &plan, ErrorKind kind, const std::string &who);

}  // namespace orthorank
