// Plots as SVG text: lines and points over two axes, and bars with marks. For pages, not for
// analysis: every number in them is also written as data, and shown by hovering. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "report/axis.h"

namespace orthorank {

// Points, joined by a line unless they are single ones.
struct PlotLine {
    std::string name;       // in the legend; empty: not there
    std::vector<double> x;  // as many as y
    std::vector<double> y;  // points without a place on the axes are left out
    bool is_dashed = false;
    size_t colour = 0;
    bool has_line = true;
    std::vector<double> low{};          // whiskers, as many as y; empty: none
    std::vector<double> high{};         // likewise
    std::vector<std::string> labels{};  // of the points, for hovering; empty: none
};

// A part of the x axis that is set off, such as the layers behind l_sink.
struct PlotShade {
    double from = 0;
    double to = 0;
    std::string name;  // shown by hovering
};

struct LinePlot {
    std::string title;
    Axis x;
    Axis y;
    std::vector<PlotLine> lines;
    std::vector<PlotShade> shades;
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
    std::string label;  // of the values, with their unit
    std::vector<std::string> mark_names;
    std::vector<Bar> bars;
};
std::string bar_plot_svg(const BarPlot &plot);

}  // namespace orthorank
