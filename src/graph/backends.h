// The ggml backends an engine computes with: one per device, the last a CPU. Owns
// them; made once per engine, used by one thread at a time. Throws Error{device} when a device
// cannot be initialised.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml-cpp.h"

namespace orthorank {

class Backends {
 public:
    // n_threads <= 0: default_n_threads().
    Backends(const std::vector<ggml_backend_dev_t> &devices, int n_threads);

    int n_threads() const { return n_threads_; }
    ggml_backend_t of_device(int device) const { return backends_[static_cast<size_t>(device)]; }
    // Buffers of this device that live as long as an engine (KV cache, hidden states) are of this
    // type.
    ggml_backend_buffer_type_t buffer_type(int device = 0) const;
    // Makes RPC servers forget the graphs that they keep to run again. ggml has a server drop them
    // whenever one of its buffers is freed, and its client does not notice: to be called when any
    // buffer was freed, before a graph runs again. Costs a message for each RPC device.
    void forget_graphs() const;
    // A scheduler for graphs of up to n_tensors nodes and leaves together. Throws Error{limit} when
    // memory is short.
    ggml_backend_sched_ptr make_scheduler(size_t n_tensors) const;

 private:
    // One number that is scaled in place.
    struct EmptyGraph {
        ggml_backend_t backend = nullptr;
        ggml_context_ptr ctx;
        ggml_backend_buffer_ptr buffer;
        ggml_cgraph *graph = nullptr;
    };
    void add_empty_graph(ggml_backend_t backend);

    int n_threads_;
    std::vector<ggml_backend_ptr> owned_;
    std::vector<ggml_backend_t> backends_;  // same order, for ggml's C interface
    std::vector<EmptyGraph> empty_graphs_;  // of RPC devices
};

// Waits until this node of a graph that runs is computed, as ggml's own waiting does not for an RPC
// server: that answers what is read back, not what it is to compute. For what is timed.
void wait_for_remote(const ggml_tensor *node);

// Sets a backend's threads where it has such. Works for loadable backends too.
void set_threads(ggml_backend_t backend, int n_threads);

// Bytes that such a scheduler fills, its compute buffers not counted. It asks for many times as
// much, which stays untouched.
int64_t scheduler_table_bytes(size_t n_tensors);

}  // namespace orthorank
