#include "support/memory_limit.h"

#include <malloc.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>

namespace orthorank::test {

namespace {

constexpr int k_large_block = 1 << 20;

rlim_t bytes_in_use() {
    rlim_t n_pages = 0;
    std::ifstream("/proc/self/statm") >> n_pages;
    return n_pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

bool can_limit_memory() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    // From now on large blocks are mapped one by one, so that freeing one gives it back.
    return ::mallopt(M_MMAP_THRESHOLD, k_large_block) == 1 && bytes_in_use() > 0;
#endif
}

MemoryLimit::MemoryLimit(std::size_t n_bytes) {
    ::malloc_trim(0);
    if (::getrlimit(RLIMIT_AS, &before_) != 0) {
        throw std::runtime_error("the limit of memory cannot be read");
    }
    rlimit limit = before_;
    limit.rlim_cur = bytes_in_use() + n_bytes;
    if (::setrlimit(RLIMIT_AS, &limit) != 0) {
        throw std::runtime_error("memory cannot be limited");
    }
}

MemoryLimit::~MemoryLimit() {
    ::setrlimit(RLIMIT_AS, &before_);
}

}  // namespace orthorank::test
