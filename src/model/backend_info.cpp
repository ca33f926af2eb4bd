#include "model/backend_info.h"

#include <fmt/format.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "model/device_memory.h"
#include "model/devices.h"

namespace orthorank {

namespace {

const char *type_name(enum ggml_backend_dev_type type) {
    switch (type) {
        case GGML_BACKEND_DEVICE_TYPE_CPU:
            return "CPU";
        case GGML_BACKEND_DEVICE_TYPE_GPU:
            return "GPU";
        case GGML_BACKEND_DEVICE_TYPE_IGPU:
            return "integrated GPU";
        case GGML_BACKEND_DEVICE_TYPE_ACCEL:
            return "accelerator";
        default:
            return "other";
    }
}

}  // namespace

std::vector<DeviceInfo> list_devices() {
    load_backends();
    std::vector<DeviceInfo> devices;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        const DeviceMemory memory = memory_of(device);
        devices.push_back({ggml_backend_dev_name(device), ggml_backend_dev_description(device),
                           type_name(ggml_backend_dev_type(device)), memory.bytes_free,
                           memory.bytes_total});
    }
    return devices;
}

std::string device_name(const Model &model) {
    std::string names;
    for (const DeviceShare &share : model.shares()) {
        if (!share.layers.empty()) {
            names += (names.empty() ? "" : ", ") + share.device;
        }
    }
    return names;
}

std::string device_identity(const Model &model) {
    std::string text;
    for (const DeviceShare &share : model.shares()) {
        if (!share.layers.empty()) {
            text +=
                fmt::format("{}{} ({})", text.empty() ? "" : ", ", share.device, share.description);
            text += model.split().is_split() ? fmt::format(": {} layers", share.layers.size()) : "";
        }
    }
    return text;
}

std::string ggml_version_text() {
    return ggml_version();
}

}  // namespace orthorank
