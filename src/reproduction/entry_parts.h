// What the tables of several entries have in common. Pure functions of what was found.
#pragma once

#include <string>

#include "reproduction/entries.h"

namespace orthorank {

// "12.34 ± 0.56"; empty for nothing.
std::string estimate_text(const std::optional<Estimate> &estimate, double factor = 1,
                          int n_digits = 2);

// The plan's label, what it does to how many layers, and its effective sparsity.
Cells plan_cells(const Workshop &workshop, const std::string &plan);
// Perplexity on C4 and its ratio to dense.
void add_perplexity(const Workshop &workshop, const std::string &plan, Cells &cells);
// The mean of the five tasks, in per cent, and its difference to dense in points.
void add_mean(const Workshop &workshop, const std::string &plan, Cells &cells);

// What a claim's difference is in.
constexpr const char *k_nats = "nats a token";
constexpr const char *k_points = "points";

// Perplexity of `better` below that of `worse`; the mean of the tasks above it, in points.
Claim lower_perplexity(const Workshop &workshop, const std::string &better,
                       const std::string &worse, const std::string &where);
Claim higher_accuracy(const Workshop &workshop, const std::string &better, const std::string &worse,
                      const std::string &where);

// The same in another unit.
std::optional<Estimate> scaled(std::optional<Estimate> estimate, double factor);

// Says how much was measured: windows of C4, documents of the tasks; what is there of them.
std::string extent_of_perplexity(const Workshop &workshop);
std::string extent_of_tasks(const Workshop &workshop);

}  // namespace orthorank
