#include "report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "report/axis.h"
#include "report/svg.h"

namespace orthorank {

namespace {

// Measures in pixels.
constexpr double k_width = 760;
constexpr double k_top = 34;
constexpr double k_label_room = 36;  // of the columns' label, below their names
constexpr double k_right = 120;      // the scale's
constexpr double k_max_side = 480;
constexpr double k_min_cell = 3;
constexpr double k_max_cell = 40;
constexpr double k_scale_width = 16;
constexpr double k_scale_height = 200;
constexpr double k_name_height = 90;  // of upright ones

// Where the cells are, and what their values mean.
struct Layout {
    double left = 0;
    double cell_width = 0;
    double cell_height = 0;
    double low = 0;
    double high = 1;
    double end_x = 0;
    double end_y = 0;
    double names_end_y = 0;  // of the columns' names
};

// The ends of the scale: those given, or those of the values.
std::pair<double, double> scale_of(const HeatMap &map) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (double value : map.values) {
        low = std::isfinite(value) ? std::min(low, value) : low;
        high = std::isfinite(value) ? std::max(high, value) : high;
    }
    if (low > high) {
        low = high = 0;
    }
    low = map.low.value_or(low);
    high = map.high.value_or(high);
    return {low, low < high ? high : low + 1};
}

double label_width(const HeatMap &map) {
    double width = 24;
    for (const std::string &name : map.row_names) {
        width = std::max(width, text_width(name));
    }
    return std::min(width, 230.0);
}

Layout layout_of(const HeatMap &map) {
    CHECK(map.n_columns > 0 && map.n_rows > 0);
    CHECK(map.values.size() == map.n_columns * map.n_rows);
    Layout layout;
    layout.left = 38 + label_width(map);
    const auto n_columns = static_cast<double>(map.n_columns);
    const auto n_rows = static_cast<double>(map.n_rows);
    const double room = std::min(k_max_side, k_width - layout.left - k_right);
    layout.cell_width =
        map.cell_side ? *map.cell_side : std::clamp(room / n_columns, k_min_cell, k_max_cell);
    layout.cell_height = map.cell_side ? *map.cell_side
                         : map.n_rows == map.n_columns
                             ? layout.cell_width
                             : std::clamp(k_max_side / n_rows, k_min_cell, 22.0);
    layout.end_x = layout.left + layout.cell_width * n_columns;
    layout.end_y = k_top + layout.cell_height * n_rows;
    layout.names_end_y = layout.end_y + (map.has_upright_names ? k_name_height + 6 : 16);
    std::tie(layout.low, layout.high) = scale_of(map);
    return layout;
}

std::string name_of(const std::vector<std::string> &names, size_t i) {
    return names.empty() ? std::to_string(i) : names[i];
}

std::string colour_of(const HeatMap &map, const Layout &layout, double value) {
    const double part = (value - layout.low) / (layout.high - layout.low);
    return map.is_diverging ? diverging_colour(part) : sequential_colour(part);
}

// Light on dark cells and dark on light ones: each mark has both.
void draw_mark(CellMark mark, Point centre, double radius, Svg &svg) {
    const Stroke dark{"#000000", 3};
    const Stroke light{"#ffffff", 1.5};
    switch (mark) {
        case CellMark::none:
            return;
        case CellMark::dot:
            svg.dot(centre, radius, "#ffffff");
            svg.ellipse(centre, radius, radius, {"#000000", 1});
            return;
        case CellMark::ring:
            svg.ellipse(centre, radius, radius, dark);
            svg.ellipse(centre, radius, radius, light);
            return;
        case CellMark::cross:
            for (const Stroke &stroke : {dark, light}) {
                svg.line({centre.x - radius, centre.y - radius},
                         {centre.x + radius, centre.y + radius}, stroke);
                svg.line({centre.x - radius, centre.y + radius},
                         {centre.x + radius, centre.y - radius}, stroke);
            }
            return;
    }
}

void draw_cells(const HeatMap &map, const Layout &layout, Svg &svg) {
    for (size_t i = 0; i < map.values.size(); ++i) {
        const size_t column = i % map.n_columns;
        const size_t row = i / map.n_columns;
        const Point corner{layout.left + layout.cell_width * static_cast<double>(column),
                           k_top + layout.cell_height * static_cast<double>(row)};
        const double value = map.values[i];
        std::string hover = fmt::format(
            "{} {}, {} {}: {} {}", map.y_label, name_of(map.row_names, row), map.x_label,
            name_of(map.column_names, column), map.value_label, value_text(value));
        if (!map.hovers.empty() && !map.hovers[i].empty()) {
            hover += "\n" + map.hovers[i];
        }
        if (std::isfinite(value)) {
            svg.rect(corner, layout.cell_width, layout.cell_height, colour_of(map, layout, value),
                     hover);
        } else {
            svg.shade(corner, layout.cell_width, layout.cell_height, hover);
        }
        if (!map.marks.empty()) {
            const double side = std::min(layout.cell_width, layout.cell_height);
            draw_mark(map.marks[i],
                      {corner.x + layout.cell_width / 2, corner.y + layout.cell_height / 2},
                      side * 0.28, svg);
        }
    }
}

// Every so many names that none covers another.
size_t name_step(double cell, double room) {
    return std::max<size_t>(1, static_cast<size_t>(std::ceil(room / cell)));
}

void draw_column_names(const HeatMap &map, const Layout &layout, Svg &svg) {
    double widest = 20;
    for (const std::string &name : map.column_names) {
        widest = std::max(widest, text_width(name) + 6);
    }
    const size_t step =
        name_step(layout.cell_width, map.has_upright_names ? 13 : std::min(widest, 90.0));
    for (size_t i = 0; i < map.n_columns; i += step) {
        const double x = layout.left + layout.cell_width * (static_cast<double>(i) + 0.5);
        const std::string name = name_of(map.column_names, i);
        if (map.has_upright_names) {
            svg.upright_text({x + 4, layout.end_y + 6}, Svg::Anchor::end, name, k_name_height);
        } else {
            svg.text({x, layout.names_end_y}, Svg::Anchor::middle, name, 90);
        }
    }
}

void draw_names(const HeatMap &map, const Layout &layout, Svg &svg) {
    draw_column_names(map, layout, svg);
    const size_t y_step = name_step(layout.cell_height, 13);
    for (size_t i = 0; i < map.n_rows; i += y_step) {
        svg.text({layout.left - 6, k_top + layout.cell_height * (static_cast<double>(i) + 0.5) + 4},
                 Svg::Anchor::end, name_of(map.row_names, i), layout.left - 30);
    }
    svg.text({(layout.left + layout.end_x) / 2, layout.names_end_y + 20}, Svg::Anchor::middle,
             map.x_label, std::max(layout.end_x - layout.left, 200.0));
    svg.upright_text({14, (k_top + layout.end_y) / 2}, Svg::Anchor::middle, map.y_label,
                     layout.end_y - k_top);
}

void draw_scale(const HeatMap &map, const Layout &layout, Svg &svg) {
    constexpr int k_n_steps = 50;
    const double x = layout.end_x + 24;
    const double height = std::min(k_scale_height, layout.end_y - k_top);
    for (int i = 0; i < k_n_steps; ++i) {
        const double part = (i + 0.5) / k_n_steps;
        const double step = height / k_n_steps;
        svg.rect({x, k_top + height - step * (i + 1)}, k_scale_width, step + 0.3,
                 colour_of(map, layout, layout.low + part * (layout.high - layout.low)));
    }
    const int n_ticks = height > 80 ? 4 : 1;
    for (double tick : round_ticks(layout.low, layout.high, n_ticks)) {
        const double y = k_top + height * (1 - (tick - layout.low) / (layout.high - layout.low));
        svg.text({x + k_scale_width + 6, y + 4}, Svg::Anchor::start, value_text(tick), 56);
    }
    svg.text({layout.end_x + 24, k_top - 6}, Svg::Anchor::start, map.value_label,
             svg.width() - layout.end_x - 28);
}

}  // namespace

std::string heat_map_svg(const HeatMap &map) {
    const Layout layout = layout_of(map);
    Svg svg(std::max(k_width, layout.end_x + k_right), layout.names_end_y + k_label_room,
            map.title);
    draw_cells(map, layout, svg);
    draw_names(map, layout, svg);
    draw_scale(map, layout, svg);
    if (map.box_from && *map.box_from < std::min(map.n_columns, map.n_rows)) {
        const auto from = static_cast<double>(*map.box_from);
        const Point corner{layout.left + layout.cell_width * from,
                           k_top + layout.cell_height * from};
        svg.frame(corner, layout.end_x - corner.x, layout.end_y - corner.y, {"#d55e00", 2});
    }
    return svg.finished();
}

std::vector<HeatMap> strips_of(HeatMap map, size_t n_columns) {
    std::tie(map.low, map.high) = scale_of(map);
    std::vector<HeatMap> strips;
    for (size_t first = 0; first < map.n_columns; first += n_columns) {
        HeatMap strip = map;
        strip.n_columns = std::min(n_columns, map.n_columns - first);
        const auto cut = [&](const auto &whole, size_t n_rows) {
            auto part = whole;
            part.clear();
            for (size_t row = 0; row < n_rows && !whole.empty(); ++row) {
                const auto begin =
                    whole.begin() + static_cast<std::ptrdiff_t>(row * map.n_columns + first);
                part.insert(part.end(), begin,
                            begin + static_cast<std::ptrdiff_t>(strip.n_columns));
            }
            return part;
        };
        strip.values = cut(map.values, map.n_rows);
        strip.marks = cut(map.marks, map.n_rows);
        strip.hovers = cut(map.hovers, map.n_rows);
        strip.column_names = cut(map.column_names, 1);
        strips.push_back(std::move(strip));
    }
    return strips;
}

}  // namespace orthorank
