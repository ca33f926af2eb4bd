#include "report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/svg.h"

namespace orthorank {

namespace {

// Measures in pixels.
constexpr double k_width = 760;
constexpr double k_plot_height = 340;
constexpr double k_left = 80;
constexpr double k_right = 20;
constexpr double k_legend_top = 36;
constexpr double k_legend_step = 16;
constexpr double k_key_width = 24;
constexpr double k_bottom = 52;
constexpr double k_dot_radius = 2.6;

struct LegendEntry {
    const PlotLine *line;
    Point at;
};

// The entries in rows, as many in each as fit.
std::vector<LegendEntry> legend_of(const LinePlot &plot, double &bottom) {
    std::vector<LegendEntry> entries;
    Point at{k_left, k_legend_top};
    for (const PlotLine &line : plot.lines) {
        if (line.name.empty()) {
            continue;
        }
        const double width = k_key_width + text_width(line.name) + 16;
        if (at.x > k_left && at.x + width > k_width - k_right) {
            at = {k_left, at.y + k_legend_step};
        }
        entries.push_back({&line, at});
        at.x += width;
    }
    bottom = (entries.empty() ? k_legend_top - k_legend_step : at.y) + 12;
    return entries;
}

void draw_legend(const std::vector<LegendEntry> &entries, Svg &svg) {
    for (const LegendEntry &entry : entries) {
        const Point from{entry.at.x, entry.at.y - 4};
        const char *const colour = series_colour(entry.line->colour);
        if (entry.line->has_line) {
            svg.line(from, {from.x + 18, from.y}, {colour, 2, entry.line->is_dashed});
        } else {
            svg.dot({from.x + 9, from.y}, k_dot_radius + 1, colour);
        }
        svg.text({from.x + k_key_width, entry.at.y}, Svg::Anchor::start, entry.line->name,
                 k_width - k_right - from.x - k_key_width);
    }
}

// The rectangle in which values are drawn.
struct Area {
    double top;
    Scale x;
    Scale y;

    double bottom() const { return top + k_plot_height; }
    double pixel_x(double value) const {
        return k_left + (k_width - k_left - k_right) * x.part(value);
    }
    double pixel_y(double value) const { return bottom() - k_plot_height * y.part(value); }
    bool holds(double px, double py) const { return x.holds(px) && y.holds(py); }
};

Area area_of(const LinePlot &plot, double top) {
    std::vector<double> xs, ys;
    for (const PlotLine &line : plot.lines) {
        CHECK(line.x.size() == line.y.size());
        CHECK(line.low.size() == line.high.size());
        xs.insert(xs.end(), line.x.begin(), line.x.end());
        for (const std::vector<double> *values : {&line.y, &line.low, &line.high}) {
            ys.insert(ys.end(), values->begin(), values->end());
        }
    }
    return {top, make_scale(plot.x, xs), make_scale(plot.y, ys)};
}

void draw_axes(const LinePlot &plot, const Area &area, Svg &svg) {
    for (double tick : area.y.ticks) {
        const double y = area.pixel_y(tick);
        svg.line({k_left, y}, {k_width - k_right, y}, {.is_grid = true});
        svg.text({k_left - 8, y + 4}, Svg::Anchor::end, value_text(tick), k_left - 28);
    }
    const double step = (k_width - k_left - k_right) / static_cast<double>(area.x.ticks.size());
    for (double tick : area.x.ticks) {
        const double x = area.pixel_x(tick);
        svg.line({x, area.bottom()}, {x, area.bottom() + 4}, {});
        svg.text({x, area.bottom() + 18}, Svg::Anchor::middle, value_text(tick),
                 std::max(step, 50.0));
    }
    svg.line({k_left, area.bottom()}, {k_width - k_right, area.bottom()}, {});
    svg.line({k_left, area.top}, {k_left, area.bottom()}, {});
    svg.text({(k_left + k_width - k_right) / 2, area.bottom() + 40}, Svg::Anchor::middle,
             plot.x.label, k_width - k_left);
    svg.upright_text({16, area.top + k_plot_height / 2}, Svg::Anchor::middle, plot.y.label,
                     k_plot_height);
}

void draw_shades(const LinePlot &plot, const Area &area, Svg &svg) {
    for (const PlotShade &shade : plot.shades) {
        const double from = area.pixel_x(std::clamp(shade.from, area.x.low, area.x.high));
        const double to = area.pixel_x(std::clamp(shade.to, area.x.low, area.x.high));
        svg.shade({from, area.top}, to - from, k_plot_height, shade.name);
    }
}

std::string hover_of(const LinePlot &plot, const PlotLine &line, size_t i) {
    std::string text = line.labels.empty() ? line.name : line.labels[i];
    text += fmt::format("{}{} {}, {} {}", text.empty() ? "" : ": ", plot.x.label,
                        value_text(line.x[i]), plot.y.label, value_text(line.y[i]));
    if (!line.low.empty()) {
        text += fmt::format(" ({} to {})", value_text(line.low[i]), value_text(line.high[i]));
    }
    return text;
}

void draw_whisker(const Area &area, const PlotLine &line, size_t i, Svg &svg) {
    if (line.low.empty() || !area.y.holds(line.low[i]) || !area.y.holds(line.high[i])) {
        return;
    }
    const double x = area.pixel_x(line.x[i]);
    const Stroke stroke{series_colour(line.colour)};
    svg.line({x, area.pixel_y(line.low[i])}, {x, area.pixel_y(line.high[i])}, stroke);
    for (double end : {line.low[i], line.high[i]}) {
        svg.line({x - 3, area.pixel_y(end)}, {x + 3, area.pixel_y(end)}, stroke);
    }
}

void draw_line(const LinePlot &plot, const Area &area, const PlotLine &line, Svg &svg) {
    const char *const colour = series_colour(line.colour);
    std::vector<Point> points;
    for (size_t i = 0; i < line.x.size(); ++i) {
        if (area.holds(line.x[i], line.y[i])) {
            points.push_back({area.pixel_x(line.x[i]), area.pixel_y(line.y[i])});
        }
    }
    if (line.has_line) {
        svg.polyline(points, {colour, 1.8, line.is_dashed});
    }
    for (size_t i = 0, drawn = 0; i < line.x.size(); ++i) {
        if (area.holds(line.x[i], line.y[i])) {
            draw_whisker(area, line, i, svg);
            svg.dot(points[drawn++], k_dot_radius, colour, hover_of(plot, line, i));
        }
    }
}

}  // namespace

std::string line_plot_svg(const LinePlot &plot) {
    double top = 0;
    const std::vector<LegendEntry> legend = legend_of(plot, top);
    const Area area = area_of(plot, top);
    Svg svg(k_width, area.bottom() + k_bottom, plot.title);
    draw_shades(plot, area, svg);
    draw_axes(plot, area, svg);
    draw_legend(legend, svg);
    for (const PlotLine &line : plot.lines) {
        draw_line(plot, area, line, svg);
    }
    return svg.finished();
}

}  // namespace orthorank
