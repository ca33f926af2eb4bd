// The project's one hash, FNV-1a with 64 bits: tells inputs apart that differ by accident, not by
// intent. Integers and numbers enter with their bytes as they lie in memory (little-endian on every
// machine that this runs on). Owned by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orthorank {

class Fnv1a {
 public:
    void bytes(const void *data, size_t n);
    void integer(int64_t value) { bytes(&value, sizeof(value)); }
    void number(float value) { bytes(&value, sizeof(value)); }
    // With its length, so that ("ab", "c") and ("a", "bc") differ.
    void text(std::string_view value);

    // 16 hex digits.
    std::string hex() const;

 private:
    uint64_t hash_ = 0xcbf29ce484222325ULL;
};

// Of these bytes alone.
std::string fnv1a_hex(std::string_view bytes);

}  // namespace orthorank
