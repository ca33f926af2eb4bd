// Plots as SVG text: lines over an axis, and bars with marks. For pages, not for analysis: every
// number in them is also written as data. Pure functions.
#pragma once

#include <string>
#include <vector>

namespace orthorank {

struct PlotLine {
    std::string name;
    std::vector<double> x;
    std::vector<double> y;  // points that are not finite, or not positive, are left out
    bool is_dashed = false;
    size_t colour = 0;
};

// The y axis is logarithmic, and the x axis if asked for.
struct LinePlot {
    std::string title;
    std::string x_label;
    std::vector<double> x_ticks;  // ascending, whole numbers; the axis spans them
    bool is_log_x = false;
    std::vector<PlotLine> lines;  // one point at least
};
std::string line_plot_svg(const LinePlot &plot);

struct Bar {
    std::string name;
    double value = 0;
    double low = 0;  // the whisker
    double high = 0;
    std::vector<double> marks;  // as many as BarPlot::mark_names; NaN: none
    size_t colour = 0;
};

// Horizontal bars from 0, each with its value behind it.
struct BarPlot {
    std::string title;
    std::vector<std::string> mark_names;
    std::vector<Bar> bars;
};
std::string bar_plot_svg(const BarPlot &plot);

}  // namespace orthorank
