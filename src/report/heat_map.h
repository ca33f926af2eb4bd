// A table of numbers as colours, as SVG text. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace orthorank {

// A light sign with a dark edge.
enum class CellMark { none, dot, ring, cross };

struct HeatMap {
    std::string title;
    std::string x_label;      // of the columns
    std::string y_label;      // of the rows, the first one on top
    std::string value_label;  // with its unit
    size_t n_columns = 0;     // at least one, of rows too
    size_t n_rows = 0;
    std::vector<double> values;  // [row * n_columns + column]; NaN: nothing there
    // Names of columns and rows; empty: their numbers.
    std::vector<std::string> column_names;
    std::vector<std::string> row_names;
    // The ends of the scale; nothing: the smallest and the largest value.
    std::optional<double> low;
    std::optional<double> high;
    bool is_diverging = false;  // the middle of the scale is a value of its own, such as 0
    // A box round the cells from this column and row on.
    std::optional<size_t> box_from;
    // What stands in the cells, [row * n_columns + column]; empty: nothing.
    std::vector<CellMark> marks;
    std::optional<double> cell_side;  // pixels, wide and high; nothing: as there is room
    bool has_upright_names = false;   // of columns: read from bottom to top
    // What a reader sees beside a cell's value by hovering; empty: nothing.
    std::vector<std::string> hovers;
};
std::string heat_map_svg(const HeatMap &map);

// The same map in drawings of at most n_columns columns, all with the scale of the whole.
std::vector<HeatMap> strips_of(HeatMap map, size_t n_columns);

}  // namespace orthorank
