// The rule of Algorithm 1 and of decoding, in plain C++: which rows are computed in a selecting
// layer, given one score per position. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "select/policy.h"

namespace orthorank {

// k = int(ratio * n): the number of rows computed of n, the product in double, truncated
// (Algorithm 1). 0 <= ratio <= 1.
int64_t n_selected(double ratio, int64_t n);

// The positions among n_past .. scores.size()-1 that are computed: those that would be among the
// n_selected(ratio, N) best of all N = scores.size() positions, ascending. Position 0, the sink,
// comes last in every order whatever its score; NaN comes after every number but before the sink;
// ties go to the lower position. With n_past = 0 this is Algorithm 1; with n_past = N - 1 the
// decode rule (specification section 3). Scores are as the graph made them, absolute values taken.
std::vector<int32_t> pick_rows(PickOrder order, std::span<const float> scores, int64_t n_past,
                               double ratio);

}  // namespace orthorank
