// One forward call that can wait between its graphs: the batch packed into rows, its schedule, and
// how far it got. It owns its hidden rows, so other passes of the engine may run while it waits,
// but on other sequences: its own are taken until it is done or gone. They advance when it is done;
// a pass that is dropped before (because it threw, or because nobody wants it any more) leaves them
// as they were before it. One thread: the engine's.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/row_sets.h"
#include "engine/schedule.h"
#include "graph/device_rows.h"
#include "graph/segment.h"

namespace orthorank {

// Rows that a row layer does not compute and one correction updates, ascending.
struct CorrectedRows {
    const CorrectionTensors *correction = nullptr;
    std::vector<RowRef> rows;
};

// The rows of one graph: first .. end - 1 of the packed batch, and what is gathered.
struct GraphRows {
    int first = 0;
    int end = 0;
    std::span<const RowRef> body;
    std::vector<std::span<const RowRef>> updates;  // one per SegmentShape::updates
    std::vector<RowRef> outputs;
};

// What one step of a pass runs: one graph.
struct Launch {
    enum class Kind {
        body,      // a row layer's body, for the picked rows first .. end - 1
        rows,      // a segment's layers, for rows first .. end - 1 of the packed batch
        received,  // the attention that the keys of a chunk get from rows first .. end - 1
    };
    Kind kind = Kind::rows;
    int first = 0;
    int end = 0;
};

class ForwardPass {
 public:
    // Refuses a wrong batch before anything is touched: Error{request} for a token id outside the
    // vocabulary or a sequence that is not this engine's or in another pass, Error{limit} for more
    // tokens than the context holds or hidden rows that there is no memory for. What chunks and
    // options point at must live as long as the pass; sequences may not move meanwhile.
    ForwardPass(Engine &engine, std::span<const Chunk> batch, const ForwardOptions &options);
    ~ForwardPass();
    ForwardPass(const ForwardPass &) = delete;
    ForwardPass &operator=(const ForwardPass &) = delete;

    bool is_done() const { return segment_ == schedule_.segments.size(); }
    // Runs the next graph, and what the host does after it. After it threw the pass can only be
    // dropped.
    void step();

 private:
    // Where a sequence stood before the pass.
    struct Before {
        int64_t n_rows_offered = 0;
        int64_t n_rows_computed = 0;
    };
    struct GiveBack {
        HiddenRowsPool *pool;
        void operator()(const DeviceRows *rows) const { pool->give_back(rows); }
    };

    std::vector<int> cuts() const;
    void take_hidden();
    void begin_segment();
    void end_segment();
    void add_received_launches(int il);
    void advance();
    void take_back();
    int32_t n_rows_of(size_t chunk) const;
    // The hidden rows where they stand before layer il.
    ggml_tensor *hidden_before(int il) const;
    // Before which layer the hidden rows stand when a segment begins.
    int begin_layer(const Segment &segment) const;
    bool taps_behind(int il) const;
    bool keeps_hidden() const;
    // Runs rows first..end of the packed batch through the segment's layers, in one graph after
    // the row layer's updates of these rows; in a batch that is run in one go also after its body.
    void run_rows(int first, int end);
    void run_body(std::span<const RowRef> rows);
    void run_received(int first, int end);
    SegmentShape shape_of(const Segment &segment, int first, int end) const;
    void add_updates(SegmentShape &shape, GraphRows &rows) const;
    void fill(SegmentGraph &graph, const GraphRows &rows) const;
    void fill_row_layer(SegmentGraph &graph, const GraphRows &rows) const;
    // What leaves the engine, and what stays in the cache, is numbers: else Error{format} or
    // Error{limit}, which says why.
    void check_finite(const char *what, std::span<const float> values) const;
    void check_stored(const Segment &segment, const SegmentGraph &graph, int first, int end) const;
    [[noreturn]] void refuse(const std::string &what, const char *advice) const;
    void read_scores(const SegmentGraph &graph, int first);
    void read_logits(const SegmentGraph &graph, std::span<const RowRef> outputs) const;
    // After all rows' scores are there: the rows that the row layer computes.
    void pick(int il);
    std::vector<int32_t> pick_of_chunk(int il, size_t chunk);
    void record_scores(int il, size_t chunk);
    // The positions of the chunk's new rows that its plan picks.
    std::vector<int32_t> picked_positions(int il, size_t chunk) const;
    const LayerPlan &layer_plan(size_t chunk, int il) const;
    // The rows of a chunk that its plan corrects: those not in `computed`, and not position 0.
    void add_corrected(int il, size_t chunk, std::span<const int32_t> computed, bool only_outputs);
    bool is_selecting(size_t chunk, int il) const;
    ScoreShape score_shape(int first, int row, int n_rows, int il) const;
    std::vector<ScoreShape> score_shapes(const RowSet &rows, int first, int il) const;
    std::vector<RowRef> outputs_in(int first, int end) const;
    bool wants_output(const RowRef &ref) const;
    void tap_hidden(int boundary);
    bool taps_attention(int il) const;
    void tap_attention(const SegmentGraph &graph, int first) const;

    Engine::Impl &engine_;
    std::vector<size_t> order_;  // of the caller's chunks: those that decode come first
    std::vector<Chunk> batch_;   // in that order
    std::vector<Before> before_;
    ForwardOptions options_;
    OwnKernels own_;
    OwnKernels own_behind_;  // the last layer with keys, for rows that are wanted
    const Weights &weights_;
    int n_layers_;
    int end_layer_;
    RowSets sets_;
    Schedule schedule_;
    std::unique_ptr<DeviceRows, GiveBack> hidden_;
    size_t segment_ = 0;  // of the schedule, in progress
    std::vector<Launch> launches_;
    size_t next_launch_ = 0;
    std::vector<RowRef> body_rows_;           // of the row layer, ascending
    std::vector<CorrectedRows> corrected_;    // likewise, by correction
    std::vector<std::vector<float>> scores_;  // per chunk, of the next row layer's new rows
};

}  // namespace orthorank
