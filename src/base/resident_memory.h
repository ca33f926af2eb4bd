// How much memory this process has used, and what becomes of what it has freed.
#pragma once

#include <cstdint>
#include <optional>

namespace orthorank {

// The most bytes of it that ever lay in physical memory, the pages of mapped files included;
// nothing where the system does not say.
std::optional<int64_t> peak_resident_bytes();

// From now on blocks of 32 KiB and more are pages of their own, which go back to the system when
// they are freed. glibc raises that limit by itself, up to 32 MiB, whenever such a block is freed:
// then large tables of which little is written (ggml's schedulers have them, megabytes for a graph)
// are cut out of memory that was in use, and a process that makes and drops graphs grows towards
// their full size. Other C libraries: does nothing. Call it early in a process that runs for long.
void return_large_blocks();

}  // namespace orthorank
