// The devices that ggml's registry offers, and where on them a weight may live. Stateless: the
// registry is ggml's own and lives as long as the process.
#pragma once

#include <ggml-backend.h>

#include <string>
#include <vector>

#include "model/gguf_file.h"

namespace orthorank {

// What a weight is used for; decides which buffer types can hold it.
enum class WeightUse {
    rows,     // get_rows: the embedding
    matrix,   // mul_mat
    experts,  // mul_mat_id
    vector,   // norms, biases, rope factors: always F32
};

// The device called `name` (empty: the first GPU, or the CPU), then the CPU as the last resort.
// Throws Error{device} with the known names.
std::vector<ggml_backend_dev_t> choose_devices(const std::string &name);

// The buffer type for one weight: the first that supports its use, of each device's own type and,
// before a CPU's own type and if `repack`, the layouts that the CPU converts weights to for speed.
// Throws Error{format} when no device computes with the tensor's type.
ggml_backend_buffer_type_t choose_buffer_type(const std::vector<ggml_backend_dev_t> &devices,
                                              const TensorInfo &tensor, WeightUse use, bool repack,
                                              int n_expert_used);

}  // namespace orthorank
