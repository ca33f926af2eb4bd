#include "base/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace orthorank {

namespace {

template <typename T>
double mean_of(std::span<const T> values) {
    CHECK(!values.empty());
    double sum = 0.0;
    for (T value : values) {
        sum += static_cast<double>(value);
    }
    return sum / static_cast<double>(values.size());
}

// Ranks from 0, equal values sharing the mean of theirs.
std::vector<double> ranks_of(std::span<const double> values) {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return values[a] < values[b]; });
    std::vector<double> ranks(values.size());
    for (size_t first = 0, end = 0; first < order.size(); first = end) {
        while (end < order.size() && values[order[end]] == values[order[first]]) {
            ++end;
        }
        for (size_t i = first; i < end; ++i) {
            ranks[order[i]] = static_cast<double>(first + end - 1) / 2;
        }
    }
    return ranks;
}

bool has_nan(std::span<const double> values) {
    return std::any_of(values.begin(), values.end(),
                       [](double value) { return std::isnan(value); });
}

}  // namespace

double mean(std::span<const double> values) {
    return mean_of(values);
}

double mean(std::span<const float> values) {
    return mean_of(values);
}

double sample_standard_deviation(std::span<const double> values) {
    const double center = mean(values);
    if (values.size() < 2) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    double sum = 0.0;
    for (double value : values) {
        sum += (value - center) * (value - center);
    }
    return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double standard_error(std::span<const double> values) {
    return sample_standard_deviation(values) / std::sqrt(static_cast<double>(values.size()));
}

double median(std::span<const double> values) {
    return quantile(values, 0.5);
}

double quantile(std::span<const double> values, double q) {
    CHECK(!values.empty());
    CHECK(q >= 0.0 && q <= 1.0);
    for (double value : values) {
        if (std::isnan(value)) {  // would break the order that sort needs
            return value;
        }
    }
    std::vector<double> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    const double index = q * static_cast<double>(sorted.size() - 1);
    const size_t below = static_cast<size_t>(index);
    const double fraction = index - static_cast<double>(below);
    if (fraction == 0.0) {  // also where there is no value above
        return sorted[below];
    }
    return sorted[below] + fraction * (sorted[below + 1] - sorted[below]);
}

double rank_correlation(std::span<const double> a, std::span<const double> b) {
    CHECK(a.size() == b.size());
    if (a.size() < 2 || has_nan(a) || has_nan(b)) {  // NaN would break the order that sort needs
        return std::numeric_limits<double>::quiet_NaN();
    }
    const std::vector<double> ranks_a = ranks_of(a);
    const std::vector<double> ranks_b = ranks_of(b);
    const double centre = static_cast<double>(a.size() - 1) / 2;
    double products = 0, squares_a = 0, squares_b = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        products += (ranks_a[i] - centre) * (ranks_b[i] - centre);
        squares_a += (ranks_a[i] - centre) * (ranks_a[i] - centre);
        squares_b += (ranks_b[i] - centre) * (ranks_b[i] - centre);
    }
    return products / std::sqrt(squares_a * squares_b);  // 0 / 0: NaN
}

double geometric_mean(std::span<const double> ratios) {
    CHECK(!ratios.empty());
    double sum = 0.0;
    for (double ratio : ratios) {
        CHECK(std::isnan(ratio) || ratio > 0.0);
        sum += std::log(ratio);
    }
    return std::exp(sum / static_cast<double>(ratios.size()));
}

}  // namespace orthorank
