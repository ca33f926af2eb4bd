// Runs segment graphs: builds, allocates, computes, and keeps the small ones (decode) for the next
// step with the same shape, as many as k_max_kept_bytes have room for. Large graphs (prefill) share
// one compute buffer and are rebuilt, which costs a fraction of a millisecond. Not thread-safe: one
// runner per engine.
#pragma once

#include <functional>
#include <list>
#include <memory>

#include "graph/backends.h"
#include "graph/graph_watch.h"
#include "graph/segment.h"

namespace orthorank {

// Of the kept graphs together: hundreds of a small model's, some of the largest models'. Few enough
// that a server has them all after a few hundred requests of whatever mixture.
constexpr int64_t k_max_kept_bytes = int64_t{16} << 20;

class Runner {
 public:
    // sinks: see build_segment(); may be null. max_kept_bytes: of kept graphs, their nodes,
    // schedulers and compute buffers; the last one run is kept anyway.
    Runner(const Model &model, const KvCache &cache, const Backends &backends,
           const DeviceRows *sinks, int64_t max_kept_bytes = k_max_kept_bytes);

    // Runs the graph of this shape: `fill` sets its inputs, then it is computed; the outputs may be
    // read until the next call. watch: null, or sees it run.
    SegmentGraph &run(const SegmentShape &shape, const std::function<void(SegmentGraph &)> &fill,
                      GraphWatch *watch = nullptr);
    // Forgets all kept graphs: tensors that they may point at are gone.
    void clear();
    // Forgets those that point at these hidden rows.
    void forget(const DeviceRows *hidden);
    // Bytes of compute buffers held now.
    int64_t compute_bytes() const;
    // Kept graphs, and the bytes of their nodes, schedulers and compute buffers.
    size_t n_kept() const { return kept_.size(); }
    int64_t kept_bytes() const;

 private:
    struct Entry {
        SegmentGraph graph;
        ggml_backend_sched_ptr scheduler;
        bool is_allocated = false;
        int64_t n_bytes = 0;  // of nodes and scheduler and, once allocated, compute buffers
    };
    Entry &entry_for(const SegmentShape &shape);
    void allocate(Entry &entry);
    // Where layers are split: each node to the device of its layer.
    void assign_devices(const Entry &entry) const;
    // Forgets the kept graphs that were not used for longest, until the rest is small enough.
    void shrink_kept();
    // Forgets an entry that could not run: a scheduler without its buffer must not be used again.
    void drop(Entry &entry);

    const Model &model_;
    const KvCache &cache_;
    const Backends &backends_;
    const DeviceRows *sinks_;
    int64_t max_kept_bytes_;
    std::list<Entry> kept_;  // most recently used first
    Entry large_;
    size_t large_capacity_ = 0;  // nodes its scheduler is made for
    uint64_t n_freed_ = 0;       // n_freed_buffers() when a graph ran last
};

// Copies host data to an input tensor; does nothing when the graph does not use that tensor.
void set_input(ggml_tensor *tensor, const void *data, size_t bytes);

// The same for large F16 tensors: `write` gets their memory if the host can write there, else
// memory that is copied afterwards. It must write all of it.
void write_input(ggml_tensor *tensor, const std::function<void(uint16_t *)> &write);

}  // namespace orthorank
