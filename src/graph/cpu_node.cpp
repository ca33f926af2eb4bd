#include "graph/cpu_node.h"

#include "ggml-backend.h"

namespace orthorank {

bool is_in_cpu_memory(const ggml_tensor *tensor) {
    const ggml_tensor *base = tensor->view_src != nullptr ? tensor->view_src : tensor;
    if (base->buffer == nullptr || !ggml_backend_buffer_is_host(base->buffer)) {
        return false;
    }
    // ggml's own buffers of main memory name no device.
    ggml_backend_dev_t device =
        ggml_backend_buft_get_device(ggml_backend_buffer_get_type(base->buffer));
    return device == nullptr || ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

}  // namespace orthorank
