// How much memory a device has, and how much of it is free. Thread-safe.
#pragma once

#include <ggml-backend.h>

#include <cstdint>

namespace orthorank {

struct DeviceMemory {
    int64_t bytes_free = 0;  // 0: not known
    int64_t bytes_total = 0;
};

// As ggml says it, but for this machine's CPU, of which ggml takes everything as free: there it is
// what the system has left (available_bytes).
DeviceMemory memory_of(ggml_backend_dev_t device);

}  // namespace orthorank
