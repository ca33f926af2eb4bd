// Sees the graphs of a forward pass as they run: for profiles and for tests that count arithmetic.
// Production passes none and pays nothing. Owned by the caller; called by the thread that runs the
// pass.
#pragma once

struct ggml_tensor;

namespace orthorank {

struct SegmentGraph;

class GraphWatch {
 public:
    virtual ~GraphWatch() = default;
    // A graph whose inputs are set, before it is computed.
    virtual void on_graph(const SegmentGraph &graph) = 0;
    // Asked for each node of it, in order: is it to be finished before the next one starts? Nodes
    // that are not are computed together with those after them (and may be fused with them).
    virtual bool wants_node(const ggml_tensor *) { return false; }
    // This wanted node is finished, and all before it.
    virtual void on_node(const ggml_tensor *) {}
    // Wall-clock seconds in which the host picked the rows of a layer.
    virtual void on_pick(double) {}
};

}  // namespace orthorank
