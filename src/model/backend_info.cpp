#include "model/backend_info.h"

#include <ggml-backend.h>
#include <ggml.h>

namespace orthorank {

std::string device_name(const Model &model) {
    return ggml_backend_dev_name(model.devices().front());
}

std::string ggml_version_text() {
    return ggml_version();
}

}  // namespace orthorank
