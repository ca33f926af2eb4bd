// Work on a stack of its own size, for libraries that recurse as deep as their input is long.
#pragma once

#include <cstddef>
#include <functional>

namespace orthorank {

// Runs `work` on a thread with a stack of n_bytes, waits for its end and throws what it throws.
// The stack is address space: only pages that are used cost memory, and all of it is given back.
// Returns how many bytes of it were used, in whole pages. Throws Error{limit} where the system
// gives no such stack.
size_t run_on_stack(size_t n_bytes, const std::function<void()> &work);

}  // namespace orthorank
