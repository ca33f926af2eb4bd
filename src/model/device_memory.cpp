#include "model/device_memory.h"

#include <algorithm>

#include "base/resident_memory.h"
#include "model/devices.h"

namespace orthorank {

DeviceMemory memory_of(ggml_backend_dev_t device) {
    size_t n_free = 0;
    size_t n_total = 0;
    ggml_backend_dev_memory(device, &n_free, &n_total);
    DeviceMemory memory{static_cast<int64_t>(n_free), static_cast<int64_t>(n_total)};
    if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU && !is_remote(device)) {
        memory.bytes_free =
            std::min(memory.bytes_free, available_bytes().value_or(memory.bytes_free));
    }
    return memory;
}

}  // namespace orthorank
