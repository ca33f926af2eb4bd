// One forward call: the batch packed into rows, its schedule, and the run through the segments.
// Made for the call and dropped after it. Internal to the engine.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/row_sets.h"
#include "engine/schedule.h"
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

class ForwardPass {
 public:
    ForwardPass(Engine::Impl &engine, std::span<const Chunk> batch, const ForwardOptions &options);
    void run();

 private:
    void validate() const;
    std::vector<int> cuts() const;
    bool taps_hidden_after(int il) const;
    bool keeps_hidden() const;
    void load_hidden();
    void run_segment(size_t index);
    // Runs rows first..end of the packed batch through a segment's layers, in one graph after the
    // row layer's updates of these rows; with_body: and after its body.
    void run_rows(const Segment &segment, int first, int end, bool with_body);
    void run_body(const Segment &segment, std::span<const RowRef> rows);
    SegmentGraph &run_graph(const SegmentShape &shape,
                            const std::function<void(SegmentGraph &)> &fill);
    SegmentShape shape_of(const Segment &segment, int first, int end) const;
    void add_updates(SegmentShape &shape, GraphRows &rows) const;
    void fill(SegmentGraph &graph, const GraphRows &rows) const;
    void fill_row_layer(SegmentGraph &graph, const GraphRows &rows) const;
    // What leaves the engine, and what stays in the cache, is numbers: else Error{format} or
    // Error{limit}, which says why, and the cache is as before.
    void check_finite(const char *what, std::span<const float> values) const;
    void check_stored(const Segment &segment, int first, int end) const;
    [[noreturn]] void refuse(const std::string &what, const char *advice) const;
    void read_scores(const SegmentGraph &graph, int first, int end);
    void read_attention_received(int il);
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
    std::vector<ScoreShape> score_shapes(const RowSet &rows, int first, int il) const;
    std::vector<RowRef> outputs_in(int first, int end) const;
    bool wants_output(const RowRef &ref) const;
    void tap_hidden(int boundary);

    Engine::Impl &engine_;
    std::span<const Chunk> batch_;
    const ForwardOptions &options_;
    CpuLevel level_;
    const Weights &weights_;
    int n_layers_;
    int end_layer_;
    RowSets sets_;
    Schedule schedule_;
    std::vector<RowRef> body_rows_;           // of the next row layer, ascending
    std::vector<CorrectedRows> corrected_;    // likewise, by correction
    std::vector<std::vector<float>> scores_;  // per chunk, of the next row layer's new rows
};

}  // namespace orthorank
