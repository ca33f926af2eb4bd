// A hash of one number: the last steps of splitmix64 (Steele, Lea, Flood 2014, variant 13 of
// Stafford's mixers).
#pragma once

#include <cstdint>

namespace orthorank {

constexpr uint64_t mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

}  // namespace orthorank
