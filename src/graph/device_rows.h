// Rows of numbers on the computing device that live between graphs: hidden states and sinks.
// F32 [n_embd, n_rows] in a buffer of their own, cleared when made. Moves with its buffer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "ggml-cpp.h"

namespace orthorank {

class DeviceRows {
 public:
    // Throws Error{limit} when there is no memory for them; `what` names them in the message.
    DeviceRows(ggml_backend_buffer_type_t buffer_type, int64_t n_embd, int64_t n_rows,
               const char *what);

    ggml_tensor *tensor() const { return tensor_; }
    int64_t n_rows() const { return tensor_->ne[1]; }
    int64_t bytes() const;

 private:
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
    ggml_tensor *tensor_ = nullptr;
};

// The hidden rows that passes borrow. A pass has its own from its first graph to its last, so that
// it can wait while others run; afterwards the next pass takes them, and finds the graphs that
// point at them. There are as many as passes were in progress at once. Owned by an engine.
class HiddenRowsPool {
 public:
    // on_free is told of rows that are about to go: graphs may point at them.
    HiddenRowsPool(ggml_backend_buffer_type_t buffer_type, int64_t n_embd,
                   std::function<void(const ggml_tensor *)> on_free)
        : buffer_type_(buffer_type), n_embd_(n_embd), on_free_(std::move(on_free)) {}

    // Room for n rows and one more, the scratch row where padding goes: the smallest free ones that
    // suffice, or new ones in place of the largest free ones. Throws Error{limit}.
    DeviceRows *take(int64_t n);
    void give_back(const DeviceRows *rows);
    int64_t bytes() const;

 private:
    struct Entry {
        std::unique_ptr<DeviceRows> rows;
        bool is_taken = false;
    };
    // The smallest free ones that hold more than n, or, when none do, the largest free ones; end()
    // when all are taken.
    std::vector<Entry>::iterator find_free(int64_t n);

    ggml_backend_buffer_type_t buffer_type_;
    int64_t n_embd_;
    std::function<void(const ggml_tensor *)> on_free_;
    std::vector<Entry> entries_;
};

}  // namespace orthorank
