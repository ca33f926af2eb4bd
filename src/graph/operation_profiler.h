// Wall-clock time of each operation of the forward passes that it watches. Neighbouring nodes of
// one operation are computed together, as they are without it (fused where ggml does so); between
// operations the device is waited for, which costs a little: a few microseconds each on a CPU.
// Nodes are told apart by the weights that they read (named as in GGUF) and by what they descend
// from; one with several weights is divided by their bytes. Used by one thread.
#pragma once

#include <unordered_map>

#include "base/stopwatch.h"
#include "graph/graph_watch.h"
#include "graph/operation.h"

struct ggml_cgraph;

namespace orthorank {

// The operation of every node of a graph that gives a result of its own (views do not).
std::unordered_map<const ggml_tensor *, Operation> operations_of(ggml_cgraph *graph);

class OperationProfiler : public GraphWatch {
 public:
    void on_graph(const SegmentGraph &graph) override;
    bool wants_node(const ggml_tensor *node) override;
    void on_node(const ggml_tensor *node) override;
    void on_pick(double seconds) override;

    // So far; `other` is left 0, the caller knows the time of the whole pass.
    const OperationTimes &times() const { return times_; }

 private:
    std::unordered_map<const ggml_tensor *, Operation> ends_;  // last nodes of their operation
    Stopwatch stopwatch_;
    OperationTimes times_;
};

}  // namespace orthorank
