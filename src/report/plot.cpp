#include "report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace orthorank {

namespace {

// Measures in pixels.
constexpr double k_width = 760;
constexpr double k_height = 420;
constexpr double k_left = 70;
constexpr double k_right = 20;
constexpr double k_top = 40;
constexpr double k_bottom = 50;
constexpr double k_legend_width = 115;
constexpr double k_bar_left = 330;
constexpr double k_bar_right = 70;
constexpr double k_bar_height = 16;
constexpr double k_bar_step = 26;
constexpr std::array<const char *, 6> k_colours = {"#1b6ca8", "#c0392b", "#7f8c8d",
                                                   "#2c3e50", "#27ae60", "#8e44ad"};

const char *colour_of(size_t index) {
    return k_colours[index % k_colours.size()];
}

std::string escaped(const std::string &text) {
    std::string result;
    for (char c : printable_line(text)) {  // XML has no control characters
        result += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    }
    return result;
}

std::string text_at(double x, double y, const char *anchor, const std::string &text) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y,
                       anchor, escaped(text));
}

std::string opened(double height, const std::string &title) {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
               "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
               "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
               k_width, height) +
           text_at(k_width / 2, 18, "middle", title);
}

bool is_drawn(double y) {
    return std::isfinite(y) && y > 0;
}

struct Axes {
    double low = 1;
    double high = 1;
    double first = 0;
    double last = 1;
    bool is_log_x = false;

    double x(double value) const {
        const double part = is_log_x ? std::log(value / first) / std::log(last / first)
                                     : (value - first) / (last - first);
        return k_left + (k_width - k_left - k_right) * part;
    }
    double y(double value) const {
        const double part = std::log(value / low) / std::log(high / low);
        return k_height - k_bottom - (k_height - k_top - k_bottom) * part;
    }
};

Axes axes_of(const LinePlot &plot) {
    Axes axes;
    axes.low = std::numeric_limits<double>::infinity();
    axes.high = 0;
    for (const PlotLine &line : plot.lines) {
        for (double y : line.y) {
            axes.low = is_drawn(y) ? std::min(axes.low, y) : axes.low;
            axes.high = is_drawn(y) ? std::max(axes.high, y) : axes.high;
        }
    }
    if (axes.high == 0) {  // nothing to draw
        axes.low = axes.high = 1;
    }
    axes.low *= 0.99;
    axes.high *= 1.01;
    CHECK(!plot.x_ticks.empty());
    axes.first = plot.x_ticks.front();
    axes.last = plot.x_ticks.back() > axes.first ? plot.x_ticks.back() : axes.first + 1;
    axes.is_log_x = plot.is_log_x;
    return axes;
}

std::string axes_svg(const Axes &axes, const LinePlot &plot) {
    std::string svg;
    for (int i = 0; i <= 4; ++i) {
        const double value = axes.low * std::pow(axes.high / axes.low, i / 4.0);
        svg +=
            fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n",
                        k_left, k_width - k_right, axes.y(value), axes.y(value));
        svg += text_at(k_left - 8, axes.y(value) + 4, "end", fmt::format("{:.3g}", value));
    }
    for (double tick : plot.x_ticks) {
        svg += text_at(axes.x(tick), k_height - k_bottom + 18, "middle", fmt::format("{}", tick));
    }
    return svg + text_at(k_width / 2, k_height - 12, "middle", plot.x_label);
}

std::string line_svg(const Axes &axes, const PlotLine &line) {
    std::string points;
    for (size_t i = 0; i < line.x.size(); ++i) {
        if (is_drawn(line.y[i])) {
            points += fmt::format("{:.1f},{:.1f} ", axes.x(line.x[i]), axes.y(line.y[i]));
        }
    }
    return fmt::format(
        "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{} points=\"{}\"/>\n",
        colour_of(line.colour), line.is_dashed ? " stroke-dasharray=\"4 3\"" : "", points);
}

std::string bar_svg(const Bar &bar, double y, double pixels_per_unit) {
    const auto x = [&](double value) { return k_bar_left + value * pixels_per_unit; };
    const double middle = y + k_bar_height / 2;
    std::string svg = text_at(k_bar_left - 8, middle + 4, "end", bar.name);
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\"/>\n",
        k_bar_left, y, bar.value * pixels_per_unit, k_bar_height, colour_of(bar.colour));
    svg += fmt::format(
        "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"black\"/>\n",
        x(bar.low), x(bar.high), middle, middle);
    double end = std::max(bar.value, bar.high);
    for (size_t i = 0; i < bar.marks.size(); ++i) {
        if (is_drawn(bar.marks[i])) {
            end = std::max(end, bar.marks[i]);
            svg += fmt::format(
                "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
                "stroke-width=\"2\"/>\n",
                x(bar.marks[i]), y - 3, y + k_bar_height + 3, colour_of(i + 3));
        }
    }
    return svg + text_at(x(end) + 6, middle + 4, "start", fmt::format("{:.3f}", bar.value));
}

}  // namespace

std::string line_plot_svg(const LinePlot &plot) {
    const Axes axes = axes_of(plot);
    std::string svg = opened(k_height, plot.title) + axes_svg(axes, plot);
    double legend = k_left;
    for (const PlotLine &line : plot.lines) {
        svg += line_svg(axes, line);
        if (line.name.empty()) {
            continue;
        }
        svg += fmt::format("<rect x=\"{}\" y=\"28\" width=\"12\" height=\"4\" fill=\"{}\"/>\n",
                           legend, colour_of(line.colour));
        svg += text_at(legend + 16, 34, "start", line.name);
        legend += std::max(k_legend_width, 30.0 + 7.0 * static_cast<double>(line.name.size()));
    }
    return svg + "</svg>\n";
}

std::string bar_plot_svg(const BarPlot &plot) {
    const double height = k_top + k_bar_step * static_cast<double>(plot.bars.size()) + k_bottom;
    double high = 1;
    for (const Bar &bar : plot.bars) {
        high = std::max({high, bar.value, bar.high});
        for (double mark : bar.marks) {
            high = is_drawn(mark) ? std::max(high, mark) : high;
        }
    }
    const double pixels_per_unit = (k_width - k_bar_left - k_bar_right) / high;
    std::string svg = opened(height, plot.title);
    double y = k_top;
    for (const Bar &bar : plot.bars) {
        svg += bar_svg(bar, y, pixels_per_unit);
        y += k_bar_step;
    }
    double legend = k_bar_left;
    for (size_t i = 0; i < plot.mark_names.size(); ++i) {
        svg += fmt::format(
            "<line x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\" stroke=\"{3}\" "
            "stroke-width=\"2\"/>\n",
            legend, height - 30, height - 14, colour_of(i + 3));
        svg += text_at(legend + 8, height - 18, "start", plot.mark_names[i]);
        legend += k_legend_width;
    }
    return svg + "</svg>\n";
}

}  // namespace orthorank
