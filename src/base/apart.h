// Work in a process of its own, for what strangers wrote: code that may never end, fill the memory
// or run off its stack. Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace orthorank {

struct ApartLimits {
    unsigned seconds = 10;                  // by the clock
    size_t n_bytes = size_t{256} << 20;     // of memory beside what this process has
    size_t stack_bytes = size_t{64} << 20;  // base/deep_stack.h
};

// What `work` returns, run in a copy of this process (fork), which sees all that is in memory and
// changes none of it. An Error that work throws is thrown here; any other exception becomes
// Error{format} with its text. Throws Error{limit} when a limit is reached or no process can be
// made. Costs a copy of the page tables: about a millisecond a gigabyte. Work starts no threads.
std::string run_apart(const ApartLimits &limits, const std::function<std::string()> &work);

}  // namespace orthorank
