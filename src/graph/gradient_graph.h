// Graphs of ggml that are differentiated: for the Taylor score. Their numbers are F32, on one
// backend, and copied to and from the host. One thread.
#pragma once

#include <ggml-cpp.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/hparams.h"

namespace orthorank {

// F32 tensors that stay while graphs come and go: weights and inputs.
class Constants {
 public:
    explicit Constants(size_t n_tensors);

    ggml_tensor *make(ggml_type type, const std::array<int64_t, 4> &ne);
    // All that were made. Throws Error{limit}.
    void allocate(ggml_backend_t backend);

 private:
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
};

// All of a tensor's numbers.
template <typename T>
void upload(ggml_tensor *tensor, const std::vector<T> &values) {
    CHECK(values.size() * sizeof(T) == ggml_nbytes(tensor));
    ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
}
std::vector<float> download(const ggml_tensor *tensor);

// One graph of a block, forward and, with a loss, backward. Throws Error{limit} for memory,
// Error{device} when the backend fails.
class GradientGraph {
 public:
    explicit GradientGraph(const Hparams &hparams);

    ggml_context *ctx() const { return ctx_.get(); }
    ggml_cgraph *gf() const { return gf_; }

    void run(ggml_backend_t backend, ggml_tensor *output);
    // The gradients of these parameters stay readable.
    void run_backward(ggml_backend_t backend, ggml_tensor *loss,
                      std::span<ggml_tensor *const> parameters);
    // Of the loss by a parameter, in the parameter's shape.
    std::vector<float> gradient(const ggml_tensor *parameter) const;

 private:
    void allocate(ggml_backend_t backend);
    void compute(ggml_backend_t backend);

    ggml_context_ptr ctx_;
    ggml_cgraph *gf_ = nullptr;
    ggml_gallocr_ptr allocator_;
};

}  // namespace orthorank
