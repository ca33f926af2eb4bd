// What ggml is and what it offers, for people to read. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace orthorank {

struct DeviceInfo {
    std::string name;         // what --device takes, such as "CPU"
    std::string description;  // the processor's or card's name
    std::string type;         // "CPU", "GPU", "integrated GPU", "accelerator"
    int64_t bytes_free = 0;   // 0: not known
    int64_t bytes_total = 0;
};

// All devices of ggml's registry.
std::vector<DeviceInfo> list_devices();

// The name of the device that a model computes on, or those of several: "RPC0, CPU".
std::string device_name(const Model &model);
// With descriptions, such as the processor's model, and, of several, their numbers of layers:
// others round differently.
std::string device_identity(const Model &model);

// ggml's version, such as "0.25.0".
std::string ggml_version_text();

}  // namespace orthorank
