// Summaries of repeated measurements. Pure functions, thread-safe. An empty list is a bug of the
// caller (InternalError); a NaN among the values makes every result NaN.
#pragma once

#include <span>

namespace orthorank {

double mean(std::span<const double> values);
// The same, summed in double.
double mean(std::span<const float> values);

// With n - 1 in the denominator. NaN for a single value: one measurement has no known spread
// (JSON writes null).
double sample_standard_deviation(std::span<const double> values);

// Of the mean: sample_standard_deviation / sqrt(n). NaN for a single value.
double standard_error(std::span<const double> values);

// The middle value, or the mean of the two middle ones.
double median(std::span<const double> values);

// Linear interpolation between order statistics: the value at index q * (n - 1) of the sorted
// list (the usual default: type 7). 0 <= q <= 1.
double quantile(std::span<const double> values, double q);

// Spearman's rank correlation of pairs (as many of both), ties sharing their mean rank; NaN for
// fewer than two pairs, or where all values of one side are equal or one is NaN.
double rank_correlation(std::span<const double> a, std::span<const double> b);

// The mean of ratios: exp(mean(log)). All ratios > 0.
double geometric_mean(std::span<const double> ratios);

}  // namespace orthorank
