// What the reader and the writer of plan files share: the format's name and its versions.
#pragma once

#include <cstdint>

namespace orthorank {

constexpr const char *k_plan_format = "orthorank-plan";
constexpr int64_t k_plain_version = 1;    // neither corrections nor probes
constexpr int64_t k_numbers_version = 2;  // with them
constexpr int64_t k_prompt_version = 3;   // with apply, keep_last, inherit or measured losses

}  // namespace orthorank
