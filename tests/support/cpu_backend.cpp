#include "support/cpu_backend.h"

#include <gtest/gtest.h>

#include "model/devices.h"

namespace orthorank::test {

ggml_backend_ptr cpu_backend() {
    load_backends();
    ggml_backend_ptr backend(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
    EXPECT_NE(backend, nullptr) << "ggml offers no CPU device";
    return backend;
}

bool ggml_has(const std::string &feature) {
    load_backends();
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu),
                                                      "ggml_backend_get_features");
    if (address == nullptr) {
        return false;
    }
    const ggml_backend_feature *one =
        reinterpret_cast<ggml_backend_get_features_t>(address)(ggml_backend_dev_backend_reg(cpu));
    for (; one->name != nullptr; ++one) {
        if (feature == one->name) {
            return std::string(one->value) != "0";
        }
    }
    return false;
}

}  // namespace orthorank::test
