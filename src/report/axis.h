// Axes of plots: from values to pixels, with round ticks. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orthorank {

// What a caller says of an axis.
struct Axis {
    std::string label{};          // with its unit
    bool is_log = false;          // values that are not positive are not drawn
    std::vector<double> ticks{};  // ascending, the axis spans them; none: round numbers
    std::optional<double> low{};  // the ends; nothing: of what is drawn
    std::optional<double> high{};
};

// Where values lie on it.
struct Scale {
    double low = 0;  // low < high
    double high = 1;
    bool is_log = false;
    std::vector<double> ticks;

    // Whether this value has a place.
    bool holds(double value) const;
    // 0 at low, 1 at high.
    double part(double value) const;
};

// Spans the values that have a place, the ticks and the ends that are given; something, if there is
// none of all that.
Scale make_scale(const Axis &axis, std::span<const double> values);

// Round numbers in [low, high], about n of them: steps of 1, 2 or 5 times a power of ten.
std::vector<double> round_ticks(double low, double high, int n);

}  // namespace orthorank
