#include "model/huge_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace orthorank {

#ifdef __linux__

namespace {

constexpr size_t k_huge_page = 2 << 20;

// The CPU's layouts for multiplication (repacked rows, AMX tiles) lie in ordinary memory too,
// though their buffers do not count as the host's: nobody else knows how to read them.
bool is_in_main_memory(ggml_backend_buffer_t buffer) {
    if (ggml_backend_buffer_is_host(buffer)) {
        return true;
    }
    ggml_backend_dev_t device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer));
    return device != nullptr && ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

}  // namespace

void advise_huge_pages(ggml_backend_buffer_t buffer) {
    const size_t n_bytes = ggml_backend_buffer_get_size(buffer);
    if (n_bytes < k_huge_page || !is_in_main_memory(buffer)) {
        return;
    }
    // Whole pages inside the buffer.
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto base = reinterpret_cast<uintptr_t>(ggml_backend_buffer_get_base(buffer));
    const uintptr_t first = (base + page - 1) / page * page;
    const uintptr_t end = (base + n_bytes) / page * page;
    ::madvise(reinterpret_cast<void *>(first), end - first, MADV_HUGEPAGE);
}

#else

void advise_huge_pages(ggml_backend_buffer_t) {}

#endif

}  // namespace orthorank
