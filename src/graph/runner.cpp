#include "graph/runner.h"

#include <unordered_set>

#include "base/error.h"
#include "model/devices.h"
#include "model/huge_pages.h"

namespace orthorank {

namespace {

// Graphs of up to this many rows are kept; a decode step of this many sequences is one.
constexpr int k_max_kept_rows = 64;

// Nodes, and the tensors that they read and no node makes: what a scheduler has to have room for.
// The graph's own capacity is several times that, and a scheduler takes 1.5 KB for each.
size_t n_tensors(const SegmentGraph &graph) {
    const int n_nodes = ggml_graph_n_nodes(graph.gf);
    std::unordered_set<const ggml_tensor *> leaves;
    for (int i = 0; i < n_nodes; ++i) {
        for (const ggml_tensor *source : ggml_graph_node(graph.gf, i)->src) {
            if (source != nullptr && source->op == GGML_OP_NONE) {
                leaves.insert(source);
            }
        }
    }
    return static_cast<size_t>(n_nodes) + leaves.size();
}

// A scheduler does not name its buffers, but its nodes do.
void advise_compute_buffers(ggml_cgraph *gf) {
    ggml_backend_buffer_t last = nullptr;
    for (int i = 0; i < ggml_graph_n_nodes(gf); ++i) {
        ggml_backend_buffer_t buffer = ggml_graph_node(gf, i)->buffer;
        if (buffer != nullptr && buffer != last &&
            ggml_backend_buffer_get_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_COMPUTE) {
            advise_huge_pages(buffer);
            last = buffer;
        }
    }
}

int64_t buffer_bytes(ggml_backend_sched_t scheduler) {
    int64_t n_bytes = 0;
    for (int i = 0; i < ggml_backend_sched_get_n_backends(scheduler); ++i) {
        n_bytes += static_cast<int64_t>(ggml_backend_sched_get_buffer_size(
            scheduler, ggml_backend_sched_get_backend(scheduler, i)));
    }
    return n_bytes;
}

// ggml's two questions about a node: is it wanted (is_asking), and, once it is there, go on?
bool show_node(ggml_tensor *node, bool is_asking, void *watch) {
    auto *const graph_watch = static_cast<GraphWatch *>(watch);
    if (is_asking) {
        return graph_watch->wants_node(node);
    }
    graph_watch->on_node(node);
    return true;
}

// Rows of a table of weights that another device holds are taken there: what would be copied
// otherwise is the table.
bool takes_rows_elsewhere(ggml_backend_t backend, const ggml_tensor *node) {
    if (node->op != GGML_OP_GET_ROWS) {
        return false;
    }
    const ggml_tensor *table =
        node->src[0]->view_src != nullptr ? node->src[0]->view_src : node->src[0];
    return table->buffer != nullptr &&
           ggml_backend_buffer_get_usage(table->buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS &&
           !ggml_backend_supports_buft(backend, ggml_backend_buffer_get_type(table->buffer));
}

}  // namespace

void set_input(ggml_tensor *tensor, const void *data, size_t bytes) {
    if (tensor == nullptr || tensor->buffer == nullptr) {
        return;
    }
    CHECK(bytes == ggml_nbytes(tensor));
    ggml_backend_tensor_set(tensor, data, 0, bytes);
}

void write_input(ggml_tensor *tensor, const std::function<void(uint16_t *)> &write) {
    if (tensor == nullptr || tensor->buffer == nullptr) {
        return;
    }
    CHECK(tensor->type == GGML_TYPE_F16);
    if (ggml_backend_buffer_is_host(tensor->buffer)) {
        write(static_cast<uint16_t *>(tensor->data));
        return;
    }
    std::vector<uint16_t> values(static_cast<size_t>(ggml_nelements(tensor)));
    write(values.data());
    ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
}

Runner::Runner(const Model &model, const KvCache &cache, const Backends &backends,
               const DeviceRows *sinks, int64_t max_kept_bytes)
    : model_(model),
      cache_(cache),
      backends_(backends),
      sinks_(sinks),
      max_kept_bytes_(max_kept_bytes) {}

void Runner::clear() {
    kept_.clear();
    count_freed_buffers();
}

void Runner::forget(const DeviceRows *hidden) {
    count_freed_buffers();
    kept_.remove_if([hidden](const Entry &entry) { return entry.graph.shape.hidden == hidden; });
}

Runner::Entry &Runner::entry_for(const SegmentShape &shape) {
    const bool is_kept = std::max(shape.rows.n_rows, shape.body.n_rows) <= k_max_kept_rows;
    if (!is_kept) {
        large_.graph = build_segment(model_, cache_, sinks_, shape);
        const size_t n = n_tensors(large_.graph);
        if (!large_.scheduler || n > large_capacity_) {
            const size_t capacity = std::max(large_capacity_, n);
            large_.scheduler.reset();
            count_freed_buffers();
            large_.scheduler = backends_.make_scheduler(capacity);
            large_capacity_ = capacity;
        }
        ggml_backend_sched_reset(large_.scheduler.get());
        return large_;
    }
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
        if (it->graph.shape == shape) {
            kept_.splice(kept_.begin(), kept_, it);
            return kept_.front();
        }
    }
    Entry entry;
    entry.graph = build_segment(model_, cache_, sinks_, shape);
    const size_t n = n_tensors(entry.graph);
    entry.scheduler = backends_.make_scheduler(n);
    entry.n_bytes =
        static_cast<int64_t>(ggml_used_mem(entry.graph.ctx.get())) + scheduler_table_bytes(n);
    kept_.push_front(std::move(entry));
    return kept_.front();
}

void Runner::assign_devices(const Entry &entry) const {
    int first = 0;
    for (const DevicePart &part : entry.graph.parts) {
        ggml_backend_t backend = backends_.of_device(part.device);
        for (int i = first; i < part.end_node; ++i) {
            ggml_tensor *node = ggml_graph_node(entry.graph.gf, i);
            // Where a node writes into a buffer that is there already, or what a device cannot do,
            // the scheduler knows.
            const bool has_place = node->view_src != nullptr || takes_rows_elsewhere(backend, node);
            if (!has_place && ggml_backend_supports_op(backend, node)) {
                ggml_backend_sched_set_tensor_backend(entry.scheduler.get(), node, backend);
            }
        }
        first = part.end_node;
    }
}

void Runner::allocate(Entry &entry) {
    ggml_backend_sched_t scheduler = entry.scheduler.get();
    if (model_.split().is_split()) {
        assign_devices(entry);
    }
    const SegmentShape &shape = entry.graph.shape;
    const int64_t n_bytes_before = buffer_bytes(scheduler);
    if (!ggml_backend_sched_alloc_graph(scheduler, entry.graph.gf)) {
        const int n_rows = std::max(shape.rows.n_rows, shape.body.n_rows);
        drop(entry);
        fail(ErrorKind::limit, "no memory for a compute buffer ({} rows)", n_rows);
    }
    const int64_t n_bytes = buffer_bytes(scheduler);
    if (n_bytes_before != 0 && n_bytes != n_bytes_before) {
        count_freed_buffers();
    }
    advise_compute_buffers(entry.graph.gf);
    if (&entry != &large_) {
        entry.is_allocated = true;
        entry.n_bytes += n_bytes;
        shrink_kept();
    }
}

SegmentGraph &Runner::run(const SegmentShape &shape,
                          const std::function<void(SegmentGraph &)> &fill, GraphWatch *watch) {
    Entry &entry = entry_for(shape);
    SegmentGraph &graph = entry.graph;
    if (ggml_graph_n_nodes(graph.gf) == 0) {
        return graph;
    }
    if (!entry.is_allocated) {
        allocate(entry);
    }
    ggml_backend_sched_t scheduler = entry.scheduler.get();
    fill(graph);
    if (watch != nullptr) {
        watch->on_graph(graph);
    }
    if (n_freed_ != n_freed_buffers()) {
        n_freed_ = n_freed_buffers();
        backends_.forget_graphs();
    }
    ggml_backend_sched_set_eval_callback(scheduler, watch != nullptr ? show_node : nullptr, watch);
    if (ggml_backend_sched_graph_compute(scheduler, graph.gf) != GGML_STATUS_SUCCESS) {
        drop(entry);
        fail(ErrorKind::device, "the device failed to compute a graph");
    }
    return graph;
}

void Runner::drop(Entry &entry) {
    count_freed_buffers();
    if (&entry == &large_) {
        large_ = {};
        large_capacity_ = 0;
    } else {
        kept_.pop_front();  // where entry_for() puts what it returns
    }
}

void Runner::shrink_kept() {
    int64_t n_bytes = kept_bytes();
    while (n_bytes > max_kept_bytes_ && kept_.size() > 1) {
        n_bytes -= kept_.back().n_bytes;
        kept_.pop_back();
        count_freed_buffers();
    }
}

int64_t Runner::kept_bytes() const {
    int64_t n_bytes = 0;
    for (const Entry &entry : kept_) {
        n_bytes += entry.n_bytes;
    }
    return n_bytes;
}

int64_t Runner::compute_bytes() const {
    int64_t n_bytes = large_.scheduler ? buffer_bytes(large_.scheduler.get()) : 0;
    for (const Entry &entry : kept_) {
        n_bytes += buffer_bytes(entry.scheduler.get());
    }
    return n_bytes;
}

}  // namespace orthorank
