// Are numbers numbers? Asked of their bits, in integers: no compiler option that promises finite
// numbers can take the question away, and the loops need no floating-point comparison to be fast.
// Thread-safe.
#pragma once

#include <cstdint>
#include <span>

namespace orthorank {

// False when there is a NaN or an infinity.
bool all_finite(std::span<const float> values);
// The same for the bits of half-precision floats (IEEE 754 binary16).
bool all_finite_f16(std::span<const uint16_t> bits);

}  // namespace orthorank
