// How much memory this process has used.
#pragma once

#include <cstdint>
#include <optional>

namespace orthorank {

// The most bytes of it that ever lay in physical memory, the pages of mapped files included;
// nothing where the system does not say.
std::optional<int64_t> peak_resident_bytes();

}  // namespace orthorank
