// What the nodes of our own (GGML_OP_CUSTOM) share: memory of a thread, whether a tensor lies in
// main memory, and how threads divide a node's work.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "ggml.h"

namespace orthorank {

// Whether a CPU reads this tensor's data as the file has them. Its buffer must be known.
bool is_in_cpu_memory(const ggml_tensor *tensor);

// Memory of one thread, in cache lines; grows and is kept.
class Scratch {
 public:
    void *of_size(size_t n_bytes) {
        if (n_bytes > capacity_) {
            release();
            data_ = ::operator new(n_bytes, k_line);
            capacity_ = n_bytes;
        }
        return data_;
    }
    Scratch() = default;
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
    ~Scratch() { release(); }

 private:
    static constexpr std::align_val_t k_line{64};
    void release() {
        ::operator delete(data_, k_line);
        data_ = nullptr;
        capacity_ = 0;
    }

    void *data_ = nullptr;
    size_t capacity_ = 0;
};

// Threads draw the numbers from 0 to n_tickets - 1, each once. The count lies behind ggml's own
// parameters of a custom node, and whoever draws the last ticket of all sets it back for the next
// run of the graph.
template <typename Work>
void draw_tickets(ggml_tensor *node, int n_threads, int64_t n_tickets, const Work &work) {
    std::atomic_ref<int32_t> count(node->op_params[GGML_MAX_OP_PARAMS / sizeof(int32_t) - 1]);
    for (;;) {
        const int32_t ticket = count.fetch_add(1);
        if (ticket >= n_tickets) {
            if (ticket == n_tickets + n_threads - 1) {
                count.store(0);
            }
            return;
        }
        work(ticket);
    }
}

}  // namespace orthorank
