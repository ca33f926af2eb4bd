#include "report/axis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace orthorank {

namespace {

constexpr int k_n_ticks = 6;
constexpr double k_margin = 0.03;  // of the axis, beyond the values

// 1, 2 and 5 times powers of ten; only the powers where they are enough.
std::vector<double> log_ticks(double low, double high) {
    const bool is_wide = high / low >= 1000;
    std::vector<double> ticks;
    for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10) {
        for (double digit : {1.0, 2.0, 5.0}) {
            const double tick = power * digit;
            if (tick >= low && tick <= high && (digit == 1.0 || !is_wide)) {
                ticks.push_back(tick);
            }
        }
    }
    return ticks.size() > 1 ? ticks : round_ticks(low, high, k_n_ticks);
}

// A little room beyond the values, as far as the ends are not given.
void widen(const Axis &axis, Scale &scale) {
    if (scale.is_log) {
        const double factor = std::pow(scale.high / scale.low, k_margin);
        scale.low = axis.low.value_or(scale.low / factor);
        scale.high = axis.high.value_or(scale.high * factor);
        return;
    }
    const double margin = (scale.high - scale.low) * k_margin;
    scale.low = axis.low.value_or(scale.low - margin);
    scale.high = axis.high.value_or(scale.high + margin);
}

}  // namespace

bool Scale::holds(double value) const {
    return std::isfinite(value) && (!is_log || value > 0);
}

double Scale::part(double value) const {
    return is_log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
}

Scale make_scale(const Axis &axis, std::span<const double> values) {
    CHECK(std::is_sorted(axis.ticks.begin(), axis.ticks.end()));
    Scale scale;
    scale.is_log = axis.is_log;
    scale.low = std::numeric_limits<double>::infinity();
    scale.high = -scale.low;
    const auto take = [&](double value) {
        if (scale.holds(value)) {
            scale.low = std::min(scale.low, value);
            scale.high = std::max(scale.high, value);
        }
    };
    std::for_each(values.begin(), values.end(), take);
    std::for_each(axis.ticks.begin(), axis.ticks.end(), take);
    take(axis.low.value_or(std::numeric_limits<double>::quiet_NaN()));
    take(axis.high.value_or(std::numeric_limits<double>::quiet_NaN()));
    if (scale.low > scale.high) {  // nothing to draw
        scale.low = scale.high = 1;
    }
    if (scale.low == scale.high) {
        scale.high = scale.is_log ? scale.high * 2 : scale.high + 1;
    }
    if (axis.ticks.empty()) {
        widen(axis, scale);
    }
    scale.ticks = !axis.ticks.empty() ? axis.ticks
                  : scale.is_log      ? log_ticks(scale.low, scale.high)
                                      : round_ticks(scale.low, scale.high, k_n_ticks);
    return scale;
}

std::vector<double> round_ticks(double low, double high, int n) {
    CHECK(low < high && n > 0);
    const double wanted = (high - low) / n;
    const double power = std::pow(10.0, std::floor(std::log10(wanted)));
    const double rest = wanted / power;
    const double step = power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
    std::vector<double> ticks;
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) {
        ticks.push_back(i == 0 ? 0.0 : i * step);
    }
    return ticks;
}

}  // namespace orthorank
