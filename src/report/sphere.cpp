#include "report/sphere.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/svg.h"

namespace orthorank {

namespace {

// Measures in pixels.
constexpr double k_width = 460;
constexpr double k_height = 400;
constexpr double k_radius = 130;
constexpr Point k_centre{k_width / 2, 190};
// Seen a little from above.
constexpr double k_tilt = 0.35;

double clamped(double cosine) {
    return std::clamp(cosine, -1.0, 1.0);
}

Point projected(const std::array<double, 3> &v) {
    // x to the right, z upwards, y away from the reader.
    const double up = v[2] * std::cos(k_tilt) + v[1] * std::sin(k_tilt);
    return {k_centre.x + k_radius * v[0], k_centre.y - k_radius * up};
}

}  // namespace

// Cholesky's factor of the matrix of cosines, with the first vector as the vertical axis.
std::array<std::array<double, 3>, 3> vectors_of(const SphereDrawing &drawing) {
    const double c01 = clamped(drawing.cosines[0]);
    const double c02 = clamped(drawing.cosines[1]);
    const double c12 = clamped(drawing.cosines[2]);
    const double s01 = std::sqrt(std::max(0.0, 1 - c01 * c01));
    const double rest = std::sqrt(std::max(0.0, 1 - c02 * c02));
    // Along the second vector's horizontal part; without one, any direction is right.
    const double x2 = s01 > 1e-9 ? std::clamp((c12 - c01 * c02) / s01, -rest, rest) : rest;
    const double y2 = std::sqrt(std::max(0.0, rest * rest - x2 * x2));
    return {{{0, 0, 1}, {s01, 0, c01}, {x2, y2, c02}}};
}

std::string sphere_svg(const SphereDrawing &drawing) {
    Svg svg(k_width, k_height, drawing.title);
    svg.ellipse(k_centre, k_radius, k_radius, {});
    svg.ellipse(k_centre, k_radius, k_radius * std::sin(k_tilt), {.is_grid = true});
    const auto vectors = vectors_of(drawing);
    for (size_t i = 0; i < vectors.size(); ++i) {
        const Point tip = projected(vectors[i]);
        svg.arrow(k_centre, tip, {series_colour(i), 2.5});
        const bool is_left = tip.x < k_centre.x - 1;
        svg.text({tip.x + (is_left ? -8 : 8), tip.y - 4},
                 is_left ? Svg::Anchor::end : Svg::Anchor::start, drawing.names[i],
                 is_left ? tip.x - 16 : k_width - tip.x - 16);
    }
    constexpr std::array<std::array<size_t, 2>, 3> k_pairs = {{{0, 1}, {0, 2}, {1, 2}}};
    for (size_t i = 0; i < k_pairs.size(); ++i) {
        const std::string text =
            fmt::format("{} and {}: cosine {}", drawing.names[k_pairs[i][0]],
                        drawing.names[k_pairs[i][1]], value_text(drawing.cosines[i]));
        svg.text({k_width / 2, k_height - 44 + 16 * static_cast<double>(i)}, Svg::Anchor::middle,
                 text, k_width - 20);
    }
    return svg.finished();
}

}  // namespace orthorank
