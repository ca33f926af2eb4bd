// Makes memory short for a while, to see what is left of things whose allocation failed.
#pragma once

#include <sys/resource.h>

#include <cstddef>

namespace orthorank::test {

// Whether MemoryLimit works here: sanitizers reserve address space of their own.
bool can_limit_memory();

// While it lives, this process may take n_bytes more than it has now. Large blocks that were freed
// do not count as had: they went back to the system. One at a time.
class MemoryLimit {
 public:
    explicit MemoryLimit(std::size_t n_bytes);
    ~MemoryLimit();
    MemoryLimit(const MemoryLimit &) = delete;
    MemoryLimit &operator=(const MemoryLimit &) = delete;

 private:
    rlimit before_{};
};

}  // namespace orthorank::test
