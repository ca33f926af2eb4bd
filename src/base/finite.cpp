#include "base/finite.h"

#include <algorithm>
#include <cstring>

namespace orthorank {

namespace {

// An exponent of all ones is an infinity or a NaN, and no other bits without the sign are larger.
constexpr uint32_t k_infinity_f32 = 0x7f800000;
constexpr uint32_t k_unsigned_f32 = 0x7fffffff;
constexpr uint16_t k_infinity_f16 = 0x7c00;
constexpr uint16_t k_unsigned_f16 = 0x7fff;

}  // namespace

bool all_finite(std::span<const float> values) {
    uint32_t largest = 0;
    for (const float &value : values) {
        uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof(bits));
        largest = std::max(largest, bits & k_unsigned_f32);
    }
    return largest < k_infinity_f32;
}

bool all_finite_f16(std::span<const uint16_t> bits) {
    uint16_t largest = 0;
    for (const uint16_t value : bits) {
        largest = std::max(largest, static_cast<uint16_t>(value & k_unsigned_f16));
    }
    return largest < k_infinity_f16;
}

}  // namespace orthorank
