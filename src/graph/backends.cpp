#include "graph/backends.h"

#include <cstddef>
#include <memory>
#include <new>

#include "base/error.h"
#include "base/threads.h"
#include "model/devices.h"

namespace orthorank {

namespace {

// About what ggml's scheduler asks for: two tensors for each of 30 inputs that a split may have, as
// many splits as tensors, and a tenth of that for its tables.
size_t scheduler_bytes(size_t n_tensors) {
    return n_tensors * 30 * 2 * sizeof(ggml_tensor) / 10 * 11;
}

}  // namespace

void set_threads(ggml_backend_t backend, int n_threads) {
    ggml_backend_dev_t device = ggml_backend_get_device(backend);
    ggml_backend_reg_t registry = device ? ggml_backend_dev_backend_reg(device) : nullptr;
    if (registry == nullptr) {
        return;
    }
    void *address = ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads");
    if (address != nullptr) {
        reinterpret_cast<ggml_backend_set_n_threads_t>(address)(backend, n_threads);
    }
}

// Four numbers for each of these inputs, and what its allocator and its hash tables note of each
// tensor; of the inputs themselves only those of splits that exist are written.
int64_t scheduler_table_bytes(size_t n_tensors) {
    constexpr size_t k_allocator_bytes = 500;
    return static_cast<int64_t>(n_tensors * (4 * sizeof(int) * (30 * 2 + 1) + k_allocator_bytes));
}

Backends::Backends(const std::vector<ggml_backend_dev_t> &devices, int n_threads)
    : n_threads_(n_threads > 0 ? n_threads : default_n_threads()) {
    for (ggml_backend_dev_t device : devices) {
        ggml_backend_ptr backend(ggml_backend_dev_init(device, nullptr));
        if (!backend) {
            fail(ErrorKind::device, "device {} cannot be initialised",
                 ggml_backend_dev_name(device));
        }
        set_threads(backend.get(), n_threads_);
        if (is_remote(device)) {
            add_empty_graph(backend.get());
        }
        backends_.push_back(backend.get());
        owned_.push_back(std::move(backend));
    }
    CHECK(!backends_.empty());
}

void Backends::add_empty_graph(ggml_backend_t backend) {
    EmptyGraph empty;
    empty.backend = backend;
    empty.ctx.reset(ggml_init(
        {ggml_tensor_overhead() * 4 + ggml_graph_overhead_custom(4, false), nullptr, true}));
    ggml_tensor *number = ggml_new_tensor_1d(empty.ctx.get(), GGML_TYPE_F32, 1);
    empty.graph = ggml_new_graph_custom(empty.ctx.get(), 4, false);
    ggml_build_forward_expand(empty.graph, ggml_scale_inplace(empty.ctx.get(), number, 1.0f));
    empty.buffer.reset(ggml_backend_alloc_ctx_tensors(empty.ctx.get(), backend));
    if (!empty.buffer) {
        fail(ErrorKind::limit, "no memory on {}", ggml_backend_name(backend));
    }
    ggml_backend_buffer_clear(empty.buffer.get(), 0);
    empty_graphs_.push_back(std::move(empty));
}

void Backends::forget_graphs() const {
    for (const EmptyGraph &empty : empty_graphs_) {
        if (ggml_backend_graph_compute(empty.backend, empty.graph) != GGML_STATUS_SUCCESS) {
            fail(ErrorKind::device, "{} failed to compute a graph",
                 ggml_backend_name(empty.backend));
        }
    }
}

void wait_for_remote(const ggml_tensor *node) {
    ggml_backend_buffer_t buffer =
        node->view_src != nullptr ? node->view_src->buffer : node->buffer;
    ggml_backend_dev_t device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer));
    if (device != nullptr && is_remote(device) && ggml_nbytes(node) > 0) {
        uint8_t byte = 0;
        ggml_backend_tensor_get(node, &byte, 0, 1);
    }
}

ggml_backend_buffer_type_t Backends::buffer_type(int device) const {
    return ggml_backend_get_default_buffer_type(of_device(device));
}

ggml_backend_sched_ptr Backends::make_scheduler(size_t n_tensors) const {
    // ggml does not look whether it got its memory, and aborts later.
    if (!std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[scheduler_bytes(n_tensors)])) {
        fail(ErrorKind::limit, "no memory for the scheduler of a graph of {} tensors", n_tensors);
    }
    std::vector<ggml_backend_t> backends = backends_;
    ggml_backend_sched_ptr scheduler(ggml_backend_sched_new(
        backends.data(), nullptr, static_cast<int>(backends.size()), n_tensors, false, true));
    CHECK(scheduler);
    return scheduler;
}

}  // namespace orthorank
