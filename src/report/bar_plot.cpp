#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/plot.h"
#include "report/svg.h"

namespace orthorank {

namespace {

// Measures in pixels.
constexpr double k_width = 760;
constexpr double k_top = 40;
constexpr double k_bottom = 56;
constexpr double k_left = 330;
constexpr double k_right = 70;
constexpr double k_bar_height = 16;
constexpr double k_bar_step = 26;
constexpr size_t k_first_mark_colour = 2;  // behind those of the bars

bool is_drawn(double value) {
    return std::isfinite(value) && value > 0;
}

// What the axis has to reach.
double highest(const BarPlot &plot) {
    double high = 0;
    for (const Bar &bar : plot.bars) {
        for (double value : {bar.value, bar.high}) {
            high = is_drawn(value) ? std::max(high, value) : high;
        }
        for (double mark : bar.marks) {
            high = is_drawn(mark) ? std::max(high, mark) : high;
        }
    }
    return high > 0 ? high : 1;
}

void draw_bar(const BarPlot &plot, const Bar &bar, double y, double pixels_per_unit, Svg &svg) {
    const auto x = [&](double value) { return k_left + value * pixels_per_unit; };
    const double middle = y + k_bar_height / 2;
    svg.text({k_left - 8, middle + 4}, Svg::Anchor::end, bar.name, k_left - 16);
    double end = 0;
    if (is_drawn(bar.value)) {
        end = bar.value;
        svg.rect({k_left, y}, bar.value * pixels_per_unit, k_bar_height, series_colour(bar.colour),
                 fmt::format("{}: {} ({} to {})", bar.name, value_text(bar.value),
                             value_text(bar.low), value_text(bar.high)));
    }
    if (is_drawn(bar.low) && is_drawn(bar.high) && bar.low < bar.high) {
        end = std::max(end, bar.high);
        svg.line({x(bar.low), middle}, {x(bar.high), middle}, {});
    }
    for (size_t i = 0; i < bar.marks.size(); ++i) {
        if (is_drawn(bar.marks[i])) {
            end = std::max(end, bar.marks[i]);
            svg.line(
                {x(bar.marks[i]), y - 3}, {x(bar.marks[i]), y + k_bar_height + 3},
                {series_colour(i + k_first_mark_colour), 2},
                fmt::format("{}, {}: {}", bar.name, plot.mark_names[i], value_text(bar.marks[i])));
        }
    }
    svg.text({x(end) + 6, middle + 4}, Svg::Anchor::start, value_text(bar.value), k_right);
}

}  // namespace

std::string bar_plot_svg(const BarPlot &plot) {
    const double bars_end = k_top + k_bar_step * static_cast<double>(plot.bars.size());
    Svg svg(k_width, bars_end + k_bottom, plot.title);
    const double high = highest(plot);
    const double pixels_per_unit = (k_width - k_left - k_right) / high;
    for (double tick : round_ticks(0, high, 5)) {
        const double x = k_left + tick * pixels_per_unit;
        svg.line({x, k_top - 6}, {x, bars_end}, {.is_grid = true});
        svg.text({x, bars_end + 14}, Svg::Anchor::middle, value_text(tick), 70);
    }
    for (size_t i = 0; i < plot.bars.size(); ++i) {
        draw_bar(plot, plot.bars[i], k_top + k_bar_step * static_cast<double>(i), pixels_per_unit,
                 svg);
    }
    svg.text({(k_left + k_width - k_right) / 2, bars_end + 30}, Svg::Anchor::middle, plot.label,
             k_width - k_left);
    double legend = k_left;
    for (size_t i = 0; i < plot.mark_names.size(); ++i) {
        svg.line({legend, bars_end + 38}, {legend, bars_end + 50},
                 {series_colour(i + k_first_mark_colour), 2});
        svg.text({legend + 8, bars_end + 48}, Svg::Anchor::start, plot.mark_names[i],
                 k_width - legend - 8);
        legend += 24 + text_width(plot.mark_names[i]);
    }
    return svg.finished();
}

}  // namespace orthorank
