// Orders of rows: what the method's equations and every policy say of the rows of one layer, and
// how far such orders agree. Pure functions.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "analysis/layer_states.h"

namespace orthorank {

// In double.
double inner_product(std::span<const float> a, std::span<const float> b);

// A massive activation, where the median over all rows is this (docs/analysis.md): above 100 and
// 1000 times the median.
bool is_massive(double peak, double median_magnitude);

// The distance between the gradient of the cosine of `row` with `sink` by `row` as Equation 1 has
// it, (u_sink - cos u_row) / |row|, and by central differences, as a part of 1 / |row|, the longest
// that it can be: of a row that points as the sink does it is 0.
double gradient_error(std::span<const float> sink, std::span<const float> row);

// The agreements of GradientCheck, of rows with these lengths and cosines with the first one, which
// is left out. Chosen: the int(ratio * n) smallest |cosine|, the largest gradient.
void compare_equations(std::span<const double> norms, std::span<const double> cosines, double ratio,
                       GradientCheck &check);

// What scores are made of. The sink is the first row.
struct RowScores {
    int layer = 0;
    std::span<const float> hidden;     // [n_embd, n]
    std::span<const float> normed;     // [n_embd, n]
    std::span<const double> received;  // attention by row, over heads and queries
};

// Every policy whose scores are made of these, and that needs no fit, in the order of
// policy_names().
std::vector<PolicyAgreement> policy_agreements(const RowScores &scores,
                                               std::span<const double> changes, double ratio);

// Those that take a pass of the engine for their scores, as no state and no attention received has
// them.
std::vector<std::string_view> engine_scored_policies();
// The same for one of them, with its scores by row.
PolicyAgreement policy_agreement(std::string_view name, std::span<const float> scores,
                                 std::span<const double> changes, double ratio);

}  // namespace orthorank
