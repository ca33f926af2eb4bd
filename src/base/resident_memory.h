// How much memory this process has used and the system has left, and what becomes of what is freed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orthorank {

// The most bytes of it that ever lay in physical memory, the pages of mapped files included;
// nothing where the system does not say.
std::optional<int64_t> peak_resident_bytes();
// The same, of now.
std::optional<int64_t> resident_bytes();
// What the system can still give without swapping: what is free, and what it would drop of files
// that it keeps. Nothing where it does not say. It is the machine's: a control group's limit does
// not count. path: another file, for tests.
std::optional<int64_t> available_bytes(const std::string &path = "/proc/meminfo");

// Call it early in a process that runs for long: from now on what is freed goes back to the system
// or is used again, however often graphs and requests come and go. Other C libraries than glibc:
// does nothing. glibc does two things otherwise:
// - It raises the size from which a block is pages of its own, up to 32 MiB, whenever such a block
//   is freed: then large tables of which little is written (ggml's schedulers have them, megabytes
//   for a graph) are cut out of memory that was in use, and a process that makes and drops graphs
//   grows towards their full size. Here that is 8 KiB for good: more than that is rarely asked for
//   twice in one size.
// - It has up to eight heaps for each processor, by threads, and what is free in one is of no use
//   in another. Here there is one.
void reuse_freed_memory();

// Gives whole free pages between blocks that are in use back to the system, which glibc does at the
// heap's end only. Takes milliseconds for a heap of some ten MB: call it now and then.
void return_freed_memory();

}  // namespace orthorank
