#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/utf8.h"

namespace orthorank {

namespace {

constexpr double k_character_width = 7;
constexpr double k_title_y = 18;
constexpr double k_margin = 8;
constexpr const char *k_ink = "#222222";
constexpr const char *k_ellipsis = "\xe2\x80\xa6";

// Attributes hold for a light page and for paper; a style sheet overrides them on a dark screen.
constexpr const char *k_style =
    "<style>@media screen and (prefers-color-scheme: dark) { .paper { fill: #16181d } "
    ".ink { fill: #e4e6eb } .axis { stroke: #e4e6eb } .grid { stroke: #3a3f4a } }</style>\n";

constexpr std::array<const char *, k_n_series_colours> k_series = {
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888"};

using Rgb = std::array<double, 3>;
// Viridis and a blue to orange scale (ColorBrewer's PuOr turned round), at equal steps.
constexpr std::array<Rgb, 7> k_sequential = {{{68, 1, 84},
                                              {68, 57, 131},
                                              {49, 104, 142},
                                              {33, 145, 140},
                                              {53, 183, 121},
                                              {144, 215, 67},
                                              {253, 231, 37}}};
constexpr std::array<Rgb, 7> k_diverging = {{{8, 64, 129},
                                             {67, 130, 187},
                                             {158, 194, 225},
                                             {247, 247, 247},
                                             {253, 184, 99},
                                             {224, 130, 20},
                                             {145, 71, 6}}};

std::string colour_between(const std::array<Rgb, 7> &scale, double part) {
    if (!std::isfinite(part)) {
        return k_series.back();
    }
    const double at = std::clamp(part, 0.0, 1.0) * static_cast<double>(scale.size() - 1);
    const size_t below = std::min(static_cast<size_t>(at), scale.size() - 2);
    const double rest = at - static_cast<double>(below);
    std::array<int, 3> rgb{};
    for (size_t i = 0; i < rgb.size(); ++i) {
        const double value = scale[below][i] + rest * (scale[below + 1][i] - scale[below][i]);
        rgb[i] = static_cast<int>(std::lround(value));
    }
    return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

std::string stroke_attributes(const Stroke &stroke) {
    const char *const dashes = stroke.is_dashed ? " stroke-dasharray=\"5 3\"" : "";
    if (stroke.is_grid) {
        return fmt::format("class=\"grid\" stroke=\"#dddddd\"{}", dashes);
    }
    const bool is_ink = stroke.colour.empty();
    return fmt::format("{}stroke=\"{}\" stroke-width=\"{}\"{}", is_ink ? "class=\"axis\" " : "",
                       is_ink ? k_ink : stroke.colour, stroke.width, dashes);
}

// An element with a hover text as its only content, or without any: then what lies behind it is
// what a reader points at.
std::string element(const std::string &name_and_attributes, std::string_view hover) {
    if (hover.empty()) {
        return "<" + name_and_attributes + " pointer-events=\"none\"/>\n";
    }
    const std::string name = name_and_attributes.substr(0, name_and_attributes.find(' '));
    return fmt::format("<{}><title>{}</title></{}>\n", name_and_attributes, xml_escaped(hover),
                       name);
}

std::string cut_to(std::string_view text, double max_width) {
    const auto n_fitting = static_cast<size_t>(std::max(1.0, max_width / k_character_width));
    const std::string line = printable_line(text);
    std::vector<int32_t> characters = to_code_points(line);
    if (characters.size() <= n_fitting) {
        return line;
    }
    characters.resize(n_fitting - 1);
    return to_utf8(characters) + k_ellipsis;
}

const char *anchor_name(Svg::Anchor anchor) {
    return anchor == Svg::Anchor::start ? "start" : anchor == Svg::Anchor::end ? "end" : "middle";
}

std::string text_element(const std::string &place, std::string_view text, double max_width) {
    const std::string shown = cut_to(text, max_width);
    const bool is_cut = shown != printable_line(text);
    return fmt::format("<text {} class=\"ink\" fill=\"{}\">{}{}</text>\n", place, k_ink,
                       is_cut ? "<title>" + xml_escaped(text) + "</title>" : "",
                       xml_escaped(shown));
}

}  // namespace

double text_width(std::string_view text) {
    return k_character_width * static_cast<double>(n_characters(text));
}

std::string xml_escaped(std::string_view text) {
    std::string result;
    for (char c : printable(text)) {
        switch (c) {
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '&':
                result += "&amp;";
                break;
            case '"':
                result += "&quot;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string value_text(double value) {
    return std::isfinite(value) ? fmt::format("{:.4g}", value) : "none";
}

const char *series_colour(size_t index) {
    return k_series[index % k_series.size()];
}

std::string sequential_colour(double part) {
    return colour_between(k_sequential, part);
}

std::string diverging_colour(double part) {
    return colour_between(k_diverging, part);
}

Svg::Svg(double width, double height, std::string_view title) : width_(width), height_(height) {
    body_ += "<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
    text({width / 2, k_title_y}, Anchor::middle, title, width - 2 * k_margin);
}

void Svg::text(Point at, Anchor anchor, std::string_view text, double max_width) {
    body_ += text_element(fmt::format("x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"", at.x, at.y,
                                      anchor_name(anchor)),
                          text, max_width);
}

void Svg::upright_text(Point at, Anchor anchor, std::string_view text, double max_height) {
    body_ += text_element(fmt::format("transform=\"translate({:.1f} {:.1f}) rotate(-90)\" "
                                      "text-anchor=\"{}\"",
                                      at.x, at.y, anchor_name(anchor)),
                          text, max_height);
}

void Svg::line(Point from, Point to, const Stroke &stroke, std::string_view hover) {
    body_ += element(fmt::format("line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" {}",
                                 from.x, to.x, from.y, to.y, stroke_attributes(stroke)),
                     hover);
}

void Svg::polyline(const std::vector<Point> &points, const Stroke &stroke) {
    std::string list;
    for (const Point &point : points) {
        list += fmt::format("{}{:.1f},{:.1f}", list.empty() ? "" : " ", point.x, point.y);
    }
    body_ += fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", stroke_attributes(stroke),
                         list);
}

void Svg::ellipse(Point centre, double radius_x, double radius_y, const Stroke &stroke) {
    body_ += element(
        fmt::format(
            "ellipse cx=\"{:.1f}\" cy=\"{:.1f}\" rx=\"{:.1f}\" ry=\"{:.1f}\" fill=\"none\" {}",
            centre.x, centre.y, radius_x, radius_y, stroke_attributes(stroke)),
        {});
}

void Svg::rect(Point corner, double width, double height, std::string_view colour,
               std::string_view hover) {
    body_ += element(
        fmt::format("rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"",
                    corner.x, corner.y, width, height, colour),
        hover);
}

// An attribute of its own: a colour with eight digits is black to some readers of SVG.
void Svg::shade(Point corner, double width, double height, std::string_view hover) {
    body_ +=
        element(fmt::format("rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
                            "fill=\"#888888\" fill-opacity=\"0.16\"",
                            corner.x, corner.y, width, height),
                hover);
}

void Svg::frame(Point corner, double width, double height, const Stroke &stroke) {
    body_ += element(
        fmt::format(
            "rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" {}",
            corner.x, corner.y, width, height, stroke_attributes(stroke)),
        {});
}

void Svg::dot(Point centre, double radius, std::string_view colour, std::string_view hover) {
    body_ += element(fmt::format("circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\"",
                                 centre.x, centre.y, radius, colour),
                     hover);
}

void Svg::arrow(Point from, Point to, const Stroke &stroke) {
    constexpr double k_head = 9;
    constexpr double k_half_angle = 0.4;
    line(from, to, stroke);
    const double angle = std::atan2(to.y - from.y, to.x - from.x);
    for (double turn : {-k_half_angle, k_half_angle}) {
        line(to, {to.x - k_head * std::cos(angle + turn), to.y - k_head * std::sin(angle + turn)},
             stroke);
    }
}

std::string Svg::finished() const {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
               "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n",
               width_, height_) +
           k_style + body_ + "</svg>\n";
}

}  // namespace orthorank
