// Rows of numbers on the computing devices that live between graphs: hidden states and sinks.
// F32 [n_embd, n_rows] on each device, in a buffer of its own, cleared when made.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "ggml-cpp.h"

namespace orthorank {

// By device (LayerSplit::devices): the type of its buffers that live as long as an engine, null for
// one that has no layers.
using BufferTypes = std::vector<ggml_backend_buffer_type_t>;

class DeviceRows {
 public:
    // Throws Error{limit} when there is no memory for them; `what` names them in the message.
    DeviceRows(const BufferTypes &types, int64_t n_embd, int64_t n_rows, const char *what);

    // On this device; null where it has no layers.
    ggml_tensor *tensor(int device) const { return rows_[static_cast<size_t>(device)].tensor; }
    int n_devices() const { return static_cast<int>(rows_.size()); }
    int64_t n_rows() const { return n_rows_; }
    int64_t bytes() const;

 private:
    struct Rows {
        ggml_context_ptr ctx;
        ggml_backend_buffer_ptr buffer;
        ggml_tensor *tensor = nullptr;
    };
    int64_t n_rows_;
    std::vector<Rows> rows_;
};

// The hidden rows that passes borrow. A pass has its own from its first graph to its last, so that
// it can wait while others run; afterwards the next pass takes them, and finds the graphs that
// point at them. There are as many as passes were in progress at once. Owned by an engine.
class HiddenRowsPool {
 public:
    // on_free is told of rows that are about to go: graphs may point at them.
    HiddenRowsPool(BufferTypes types, int64_t n_embd,
                   std::function<void(const DeviceRows *)> on_free)
        : types_(std::move(types)), n_embd_(n_embd), on_free_(std::move(on_free)) {}

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

    BufferTypes types_;
    int64_t n_embd_;
    std::function<void(const DeviceRows *)> on_free_;
    std::vector<Entry> entries_;
};

}  // namespace orthorank
