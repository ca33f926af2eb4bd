#include "engine/forward.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "engine/batch_checks.h"
#include "engine/engine_impl.h"

namespace orthorank {

namespace {

// A batch that prefills any of its sequences is mostly prefill.
Phase phase_of(std::span<const Chunk> batch) {
    for (const Chunk &chunk : batch) {
        if (chunk.phase == Phase::prefill) {
            return Phase::prefill;
        }
    }
    return Phase::decode;
}

// By the rows of the whole call: results must not depend on how it is cut into graphs. Sequences
// that decode get the same numbers however many there are, unless one brings many rows: a known
// continuation, which is only read.
OwnKernels own_kernels(std::span<const Chunk> batch, int n_embd, CpuLevel of_engine) {
    const bool decodes = phase_of(batch) == Phase::decode;
    size_t n_rows = 0;
    for (const Chunk &chunk : batch) {
        const size_t n = chunk.n_rows(n_embd);
        n_rows = decodes ? std::max(n_rows, n) : n_rows + n;
    }
    return {of_engine, n_rows < k_min_panel_rows};
}

// Rows that are few in the whole call, likewise.
OwnKernels own_behind(std::span<const Chunk> batch, int n_embd, const OwnKernels &own) {
    size_t n_wanted = 0;
    for (const Chunk &chunk : batch) {
        const size_t n = chunk.n_rows(n_embd);
        const size_t n_all = n - std::min(n, static_cast<size_t>(chunk.first_output_row));
        n_wanted += chunk.outputs == Outputs::all    ? n_all
                    : chunk.outputs == Outputs::last ? std::min<size_t>(1, n)
                                                     : 0;
    }
    return {own.level, own.for_few_rows || n_wanted < k_min_panel_rows};
}

// The chunks, those that decode first: they attend together.
std::vector<size_t> order_of(std::span<const Chunk> batch, int n_embd) {
    std::vector<size_t> order(batch.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_partition(order.begin(), order.end(),
                          [&](size_t i) { return is_step(batch[i], n_embd); });
    return order;
}

std::vector<Chunk> in_order(std::span<const Chunk> batch, std::span<const size_t> order) {
    std::vector<Chunk> chunks;
    for (size_t i : order) {
        chunks.push_back(batch[i]);
    }
    return chunks;
}

}  // namespace

ForwardPass::ForwardPass(Engine &engine, std::span<const Chunk> batch,
                         const ForwardOptions &options)
    : engine_(*engine.impl_),
      order_(order_of(checked(engine_, batch, options), engine_.model.hparams().n_embd)),
      batch_(in_order(batch, order_)),
      options_(options),
      own_(own_kernels(batch_, engine_.model.hparams().n_embd, engine_.level)),
      own_behind_(own_behind(batch_, engine_.model.hparams().n_embd, own_)),
      weights_(engine_.model.weights(phase_of(batch_),
                                     own_.level != CpuLevel::none && !own_.for_few_rows)),
      n_layers_(engine_.model.hparams().n_layers),
      end_layer_(options.end_layer < 0 ? n_layers_ : options.end_layer),
      sets_(engine_.cache, batch_, engine_.model.hparams()),
      hidden_(nullptr, GiveBack{&engine_.hidden}),
      scores_(batch_.size()) {
    if (sets_.n_rows() == 0) {
        return;
    }
    std::vector<const Plan *> plans;
    for (const Chunk &chunk : batch_) {
        plans.push_back(&chunk.sequence->plan_in(chunk.phase));
    }
    schedule_ = make_schedule(plans, options_.first_layer, end_layer_, cuts(),
                              engine_.model.hparams().tail_begin());
    sets_.open_cells(engine_.cache);
    if (keeps_hidden()) {
        take_hidden();
    }
    for (const Chunk &chunk : batch_) {
        before_.push_back({chunk.sequence->n_rows_offered_, chunk.sequence->n_rows_computed_});
    }
    begin_segment();
    for (const Chunk &chunk : batch_) {
        chunk.sequence->is_in_pass_ = true;
    }
}

ForwardPass::~ForwardPass() {
    if (!is_done()) {
        take_back();
    }
}

void ForwardPass::take_back() {
    for (size_t i = 0; i < batch_.size(); ++i) {
        Sequence &sequence = *batch_[i].sequence;
        sequence.is_in_pass_ = false;
        engine_.cache.close_cells(sequence.slot(), sequence.n_past());
        sequence.truncate(sequence.n_past());
        sequence.n_rows_offered_ = before_[i].n_rows_offered;
        sequence.n_rows_computed_ = before_[i].n_rows_computed;
    }
}

void ForwardPass::advance() {
    for (size_t i = 0; i < batch_.size(); ++i) {
        batch_[i].sequence->n_past_ += n_rows_of(i);
        batch_[i].sequence->is_in_pass_ = false;
    }
}

int32_t ForwardPass::n_rows_of(size_t chunk) const {
    return static_cast<int32_t>(batch_[chunk].n_rows(engine_.model.hparams().n_embd));
}

std::vector<int> ForwardPass::cuts() const {
    std::vector<int> cuts;
    for (int il = options_.first_layer; options_.tap != nullptr && il < end_layer_; ++il) {
        if (options_.tap->wants_hidden(il) || taps_attention(il)) {
            cuts.push_back(il);
        }
    }
    return cuts;
}

// A dense plan's graphs begin with tokens and end with logits: no hidden states between them.
bool ForwardPass::keeps_hidden() const {
    return schedule_.segments.size() > 1 || !batch_.front().hidden.empty() ||
           options_.tap != nullptr;
}

void ForwardPass::take_hidden() {
    hidden_.reset(engine_.hidden.take(sets_.n_rows()));
    for (size_t i = 0; i < batch_.size(); ++i) {
        const std::span<const float> rows = batch_[i].hidden;
        if (!rows.empty()) {
            ggml_tensor *hidden = hidden_before(options_.first_layer);
            ggml_backend_tensor_set(hidden, rows.data(),
                                    hidden->nb[1] * static_cast<size_t>(sets_.first_row(i)),
                                    rows.size_bytes());
        }
    }
}

ggml_tensor *ForwardPass::hidden_before(int il) const {
    return hidden_->tensor(engine_.model.split().device_of(il));
}

int ForwardPass::begin_layer(const Segment &segment) const {
    const bool is_first = &segment == &schedule_.segments.front();
    return is_first ? options_.first_layer : (&segment - 1)->end_layer;
}

void ForwardPass::step() {
    CHECK(!is_done());
    const Launch launch = launches_[next_launch_++];
    switch (launch.kind) {
        case Launch::Kind::body:
            run_body(std::span(body_rows_)
                         .subspan(static_cast<size_t>(launch.first),
                                  static_cast<size_t>(launch.end - launch.first)));
            break;
        case Launch::Kind::rows:
            run_rows(launch.first, launch.end);
            break;
        case Launch::Kind::received:
            run_received(launch.first, launch.end);
            break;
    }
    if (next_launch_ == launches_.size()) {
        end_segment();
    }
}

// A segment's graphs: of a small batch only one, otherwise first the row layer's body in pieces of
// its rows, then its other layers in chunks of all rows.
void ForwardPass::begin_segment() {
    const Segment &segment = schedule_.segments[segment_];
    const int n = sets_.n_rows();
    const int chunk_rows = engine_.options.chunk_rows;
    launches_.clear();
    next_launch_ = 0;
    for (auto &scores : scores_) {
        scores.clear();
    }
    const int n_body = segment.row_layer >= 0 ? static_cast<int>(body_rows_.size()) : 0;
    const int body_rows = engine_.options.body_rows;
    for (int first = 0; n > chunk_rows && first < n_body; first += body_rows) {
        launches_.push_back({Launch::Kind::body, first, std::min(n_body, first + body_rows)});
    }
    for (int first = 0; first < n; first += chunk_rows) {
        launches_.push_back({Launch::Kind::rows, first, std::min(n, first + chunk_rows)});
    }
    if (segment.score_layer >= 0) {
        add_received_launches(segment.score_layer);
    }
}

void ForwardPass::end_segment() {
    const Segment &segment = schedule_.segments[segment_];
    if (options_.tap != nullptr && options_.tap->wants_hidden(segment.end_layer)) {
        tap_hidden(segment.end_layer);
    }
    ++segment_;
    if (is_done()) {
        advance();
        return;
    }
    if (schedule_.segments[segment_].row_layer >= 0) {
        pick(schedule_.segments[segment_].row_layer);
    }
    begin_segment();
}

SegmentShape ForwardPass::shape_of(const Segment &segment, int first, int end) const {
    const bool is_first = &segment == &schedule_.segments.front();
    const bool is_last = &segment == &schedule_.segments.back();
    SegmentShape shape;
    shape.weights = &weights_;
    shape.own = own_;
    shape.hidden = hidden_.get();
    shape.begin_layer = begin_layer(segment);
    shape.end_layer = segment.end_layer;
    shape.first_row = first;
    shape.rows = sets_.shape(sets_.range(first, end), false);
    shape.from_tokens = is_first && batch_.front().hidden.empty();
    shape.dense_layers = segment.dense_layers;
    if (!shape.dense_layers.empty() && taps_attention(shape.dense_layers.front())) {
        shape.attention_layer = shape.dense_layers.front();
    }
    shape.score_layer = segment.score_layer;
    if (segment.score_layer >= 0) {
        shape.scores = score_shapes(shape.rows, first, segment.score_layer);
    }
    shape.has_head = is_last && end_layer_ == n_layers_;
    shape.writes_hidden =
        !is_last || (options_.tap != nullptr && options_.tap->wants_hidden(segment.end_layer));
    if (shape.has_head && !shape.writes_hidden) {
        shape.last_layer = std::max(schedule_.last_layer, shape.attention_layer + 1);
        shape.own_behind = own_behind_;
    }
    return shape;
}

void ForwardPass::run_body(std::span<const RowRef> rows) {
    GraphRows part;
    part.body = rows;
    SegmentShape shape;
    shape.weights = &weights_;
    shape.own = own_;
    shape.hidden = hidden_.get();
    shape.body_layer = schedule_.segments[segment_].row_layer;
    shape.begin_layer = shape.body_layer;
    shape.end_layer = shape.body_layer;
    shape.body = sets_.shape(rows, true);
    engine_.runner.run(
        shape, [&](SegmentGraph &graph) { fill(graph, part); }, options_.watch);
}

void ForwardPass::run_rows(int first, int end) {
    const Segment &segment = schedule_.segments[segment_];
    SegmentShape shape = shape_of(segment, first, end);
    GraphRows rows;
    rows.first = first;
    rows.end = end;
    if (segment.row_layer >= 0) {
        if (sets_.n_rows() <= engine_.options.chunk_rows) {
            rows.body = body_rows_;
            shape.body_layer = segment.row_layer;
            shape.body = sets_.shape(rows.body, true);
        }
        add_updates(shape, rows);
        if (!shape.updates.empty()) {
            shape.body_layer = segment.row_layer;
        }
    }
    if (shape.has_head) {
        rows.outputs = outputs_in(first, end);
        shape.outputs = sets_.shape(rows.outputs, false);
    }
    const SegmentGraph &graph = engine_.runner.run(
        shape, [&](SegmentGraph &g) { fill(g, rows); }, options_.watch);
    check_stored(segment, graph, first, end);
    if (shape.attention_layer >= 0) {
        tap_attention(graph, first);
    }
    if (segment.score_layer >= 0) {
        read_scores(graph, first);
    }
    if (!rows.outputs.empty()) {
        read_logits(graph, rows.outputs);
    }
}

// The corrected rows among those of the graph.
void ForwardPass::add_updates(SegmentShape &shape, GraphRows &rows) const {
    const auto is_before = [this](const RowRef &ref, int row) { return sets_.packed(ref) < row; };
    for (const CorrectedRows &corrected : corrected_) {
        const auto begin =
            std::lower_bound(corrected.rows.begin(), corrected.rows.end(), rows.first, is_before);
        const auto end = std::lower_bound(begin, corrected.rows.end(), rows.end, is_before);
        if (begin != end) {
            rows.updates.emplace_back(begin, end);
            shape.updates.push_back(
                {corrected.correction, sets_.padded(static_cast<int>(end - begin))});
        }
    }
}

void ForwardPass::fill_row_layer(SegmentGraph &graph, const GraphRows &rows) const {
    const auto set_ids = [this](ggml_tensor *tensor, std::span<const RowRef> refs) {
        std::vector<int32_t> ids(static_cast<size_t>(tensor->ne[0]),
                                 static_cast<int32_t>(hidden_->n_rows() - 1));
        for (size_t i = 0; i < refs.size(); ++i) {
            ids[i] = sets_.packed(refs[i]);
        }
        set_input(tensor, ids.data(), ids.size() * sizeof(int32_t));
    };
    if (graph.body_ids != nullptr) {
        set_ids(graph.body_ids, rows.body);
        sets_.fill(graph.body, graph.shape.body, rows.body, graph.shape.body_layer);
    }
    for (size_t i = 0; i < graph.update_ids.size(); ++i) {
        set_ids(graph.update_ids[i], rows.updates[i]);
    }
}

void ForwardPass::fill(SegmentGraph &graph, const GraphRows &graph_rows) const {
    const std::span<const RowRef> rows = sets_.range(graph_rows.first, graph_rows.end);
    if (graph.tokens != nullptr) {
        std::vector<int32_t> tokens;
        for (const RowRef &ref : rows) {
            tokens.push_back(sets_.token(ref));
        }
        set_input(graph.tokens, tokens.data(), tokens.size() * sizeof(int32_t));
    }
    if (graph.cells != nullptr) {
        const std::vector<int64_t> cells = sets_.cells(rows);
        set_input(graph.cells, cells.data(), cells.size() * sizeof(int64_t));
        sets_.fill(graph.rows, graph.shape.rows, rows);
    }
    fill_row_layer(graph, graph_rows);
    if (graph.output_ids != nullptr) {
        std::vector<int32_t> ids;
        for (const RowRef &ref : graph_rows.outputs) {
            ids.push_back(sets_.packed(ref) - graph_rows.first);
        }
        set_input(graph.output_ids, ids.data(), ids.size() * sizeof(int32_t));
        if (graph.outputs.positions != nullptr) {
            sets_.fill(graph.outputs, graph.shape.outputs, graph_rows.outputs);
        }
    }
    if (graph.sink_ids != nullptr) {
        std::vector<int32_t> ids;
        for (const RowRef &ref : rows.first(static_cast<size_t>(graph.sink_ids->ne[0]))) {
            ids.push_back(batch_[ref.chunk].sequence->slot() * n_layers_ + graph.shape.score_layer);
        }
        set_input(graph.sink_ids, ids.data(), ids.size() * sizeof(int32_t));
    }
}

}  // namespace orthorank
