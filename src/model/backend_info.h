// Names for results: which ggml, which device. Thread-safe. (The devices: list_devices, model.h.)
#pragma once

#include <string>

#include "model/model.h"

namespace orthorank {

// The name of the device that a model computes on.
std::string device_name(const Model &model);

// ggml's version, such as "0.25.0".
std::string ggml_version_text();

}  // namespace orthorank
