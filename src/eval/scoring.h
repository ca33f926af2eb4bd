// From log-likelihoods to the numbers in a table: what one document scores, means with standard
// errors, and the paired difference between two plans on the same documents. The definitions are
// those of lm-evaluation-harness 0.4 (docs/evaluation.md). Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "eval/documents.h"

namespace orthorank {

// The index of the largest value; ties go to the first, NaN never wins.
size_t argmax(std::span<const double> values);

// What one document scores from the summed log-likelihood of each of its pairs.
struct ChoiceScore {
    size_t predicted = 0;       // argmax of the log-likelihoods
    size_t predicted_norm = 0;  // argmax of log-likelihood per character of the choice
    double acc = 0;             // 1 if predicted is the gold choice
    double acc_norm = 0;        // 1 if predicted_norm is
    double mc2 = 0;             // share of the probability that lies on the true choices
};
// `log_likelihoods` has one value for each pair of the document (CHECK).
ChoiceScore score_choices(const ChoiceDocument &document, std::span<const double> log_likelihoods);
// The value that a task reports: acc, acc_norm or mc2 of one document.
double metric_value(const ChoiceScore &score, Metric metric);

// The sum of exp over the true choices / that over all choices: TruthfulQA's MC2. labels are 0 or
// 1. Computed relative to the largest value, so that it does not underflow.
double probability_of_true(std::span<const double> log_likelihoods, std::span<const int> labels);

// A mean with its standard error: sample standard deviation (n - 1 below) / sqrt(n), NaN for one
// value. Empty lists are a bug of the caller (CHECK), here and below.
struct Estimate {
    double mean = 0;
    double standard_error = 0;
    size_t n = 0;
};
Estimate estimate_mean(std::span<const double> values);

// The mean of value[i] - base[i] over the same documents, with the standard error of that mean: far
// smaller than the errors of the two means where the arms agree on most documents. Equal sizes.
Estimate estimate_paired_difference(std::span<const double> values, std::span<const double> base);

// The plain mean of several tasks' means, each task counting the same, with the error that follows
// from independent tasks: sqrt(sum of squared errors) / number of tasks. n = documents in all.
Estimate mean_of_tasks(std::span<const Estimate> tasks);

}  // namespace orthorank
