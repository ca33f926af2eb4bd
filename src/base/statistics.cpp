#include "base/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
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
