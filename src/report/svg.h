// A drawing as SVG text, put together piece by piece: the one place that knows the format. Texts
// are cut to the room that they are given; colours are told apart by colour-blind readers, and
// change to a dark page's where a screen is dark (never on paper). Owned by one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// A width that k characters of plain text at 12 pixels do not exceed on average.
double text_width(std::string_view text);
// XML's text: escaped, without control characters.
std::string xml_escaped(std::string_view text);
// "0.25", "1.5e-05": four significant digits.
std::string value_text(double value);

// The colour of the index-th of several things (Okabe and Ito's palette), for lines and for areas.
const char *series_colour(size_t index);
constexpr size_t k_n_series_colours = 7;
// A colour for a part of a scale, 0 to 1: dark blue to yellow, even to the eye (viridis).
std::string sequential_colour(double part);
// The same for a scale with a middle: blue, nearly white at 0.5, orange.
std::string diverging_colour(double part);

struct Point {
    double x = 0;
    double y = 0;
};

// What a line looks like. An empty colour: the ink of the page.
struct Stroke {
    std::string colour{};
    double width = 1;
    bool is_dashed = false;
    bool is_grid = false;  // in place of a colour: the faint lines behind
};

class Svg {
 public:
    // title: its first line, in the middle of the top.
    Svg(double width, double height, std::string_view title);

    enum class Anchor { start, middle, end };
    // A line of text whose base line begins, is centred or ends there; what does not fit into
    // max_width pixels is cut, and then shown whole by hovering.
    void text(Point at, Anchor anchor, std::string_view text, double max_width);
    // The same read from bottom to top.
    void upright_text(Point at, Anchor anchor, std::string_view text, double max_height);
    // hover: what a reader sees who points at it. Empty: nothing.
    void line(Point from, Point to, const Stroke &stroke, std::string_view hover = {});
    void polyline(const std::vector<Point> &points, const Stroke &stroke);
    void ellipse(Point centre, double radius_x, double radius_y, const Stroke &stroke);
    // Filled.
    void rect(Point corner, double width, double height, std::string_view colour,
              std::string_view hover = {});
    // The same in a faint grey that what lies behind shines through.
    void shade(Point corner, double width, double height, std::string_view hover = {});
    // Not filled.
    void frame(Point corner, double width, double height, const Stroke &stroke);
    void dot(Point centre, double radius, std::string_view colour, std::string_view hover = {});
    // An arrow's head at `to`.
    void arrow(Point from, Point to, const Stroke &stroke);

    double width() const { return width_; }
    double height() const { return height_; }
    // The whole drawing.
    std::string finished() const;

 private:
    double width_;
    double height_;
    std::string body_;
};

}  // namespace orthorank
