// Three unit vectors on the unit sphere, as SVG text. Pure functions.
#pragma once

#include <array>
#include <string>

namespace orthorank {

struct SphereDrawing {
    std::string title;
    std::array<std::string, 3> names;
    // Cosines between vectors 0 and 1, 0 and 2, 1 and 2. Three vectors of any space span three
    // dimensions at most, so a rotation that keeps these angles exists; which one is of no meaning.
    std::array<double, 3> cosines{};
};

// The vectors in three dimensions, up to rounding: the first one upwards, the second one in the
// plane of the picture.
std::array<std::array<double, 3>, 3> vectors_of(const SphereDrawing &drawing);

std::string sphere_svg(const SphereDrawing &drawing);

}  // namespace orthorank
