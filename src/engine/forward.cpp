#include "engine/forward.h"

#include <algorithm>

#include "base/error.h"
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

// By the rows of the whole call: results must not depend on how it is cut into graphs.
CpuLevel level_of(std::span<const Chunk> batch, int n_embd, CpuLevel of_engine) {
    size_t n_rows = 0;
    for (const Chunk &chunk : batch) {
        n_rows += chunk.n_rows(n_embd);
    }
    return phase_of(batch) == Phase::prefill && n_rows >= k_min_fast_rows ? of_engine
                                                                          : CpuLevel::none;
}

}  // namespace

ForwardPass::ForwardPass(Engine::Impl &engine, std::span<const Chunk> batch,
                         const ForwardOptions &options)
    : engine_(engine),
      batch_(batch),
      options_(options),
      level_(level_of(batch, engine.model.hparams().n_embd, engine.level)),
      weights_(engine.model.weights(phase_of(batch), level_ != CpuLevel::none)),
      n_layers_(engine.model.hparams().n_layers),
      end_layer_(options.end_layer < 0 ? n_layers_ : options.end_layer),
      sets_(engine.cache, batch, engine.model.hparams().n_embd),
      scores_(batch.size()) {}

void ForwardPass::run() {
    validate();
    if (sets_.n_rows() == 0) {
        return;
    }
    std::vector<const Plan *> plans;
    for (const Chunk &chunk : batch_) {
        plans.push_back(&chunk.sequence->plan_in(chunk.phase));
    }
    schedule_ = make_schedule(plans, options_.first_layer, end_layer_, cuts());
    sets_.open_cells(engine_.cache);
    if (keeps_hidden()) {
        engine_.reserve_hidden(sets_.n_rows());
        load_hidden();
    }
    for (size_t i = 0; i < schedule_.segments.size(); ++i) {
        run_segment(i);
    }
    for (size_t i = 0; i < batch_.size(); ++i) {
        batch_[i].sequence->n_past_ +=
            static_cast<int64_t>(batch_[i].n_rows(engine_.model.hparams().n_embd));
    }
}

void ForwardPass::validate() const {
    const Hparams &hparams = engine_.model.hparams();
    CHECK(0 <= options_.first_layer && options_.first_layer <= end_layer_);
    CHECK(end_layer_ <= n_layers_);
    for (size_t i = 0; i < batch_.size(); ++i) {
        const Chunk &chunk = batch_[i];
        CHECK(chunk.sequence != nullptr);
        CHECK(chunk.hidden.size() % static_cast<size_t>(hparams.n_embd) == 0);
        CHECK(chunk.hidden.empty() == batch_.front().hidden.empty());
        CHECK(options_.first_layer == 0 || chunk.tokens.empty());
        CHECK(chunk.outputs == Outputs::none || end_layer_ < n_layers_ || options_.on_logits);
        for (size_t j = 0; j < i; ++j) {
            CHECK(batch_[j].sequence != chunk.sequence);
        }
        const int64_t n =
            chunk.sequence->n_past() + static_cast<int64_t>(chunk.n_rows(hparams.n_embd));
        if (n > engine_.n_ctx) {
            fail(ErrorKind::limit, "{} tokens do not fit into the context of {}", n, engine_.n_ctx);
        }
        for (int32_t token : chunk.tokens) {
            if (token < 0 || token >= hparams.n_vocab) {
                fail(ErrorKind::request, "token id {} is outside the vocabulary of {}", token,
                     hparams.n_vocab);
            }
        }
    }
}

std::vector<int> ForwardPass::cuts() const {
    std::vector<int> cuts;
    for (int il = options_.first_layer; options_.tap != nullptr && il < end_layer_; ++il) {
        if (options_.tap->wants_hidden(il)) {
            cuts.push_back(il);
        }
    }
    return cuts;
}

// Does anybody look at the hidden states that leave layer il or a later one?
bool ForwardPass::taps_hidden_after(int il) const {
    for (int boundary = il + 1; options_.tap != nullptr && boundary <= n_layers_; ++boundary) {
        if (options_.tap->wants_hidden(boundary)) {
            return true;
        }
    }
    return false;
}

// A dense plan's graphs begin with tokens and end with logits: no hidden states between them.
bool ForwardPass::keeps_hidden() const {
    return schedule_.segments.size() > 1 || !batch_.front().hidden.empty() ||
           options_.tap != nullptr;
}

void ForwardPass::load_hidden() {
    const ggml_tensor *hidden = engine_.state.hidden;
    for (size_t i = 0; i < batch_.size(); ++i) {
        const std::span<const float> rows = batch_[i].hidden;
        if (!rows.empty()) {
            ggml_backend_tensor_set(engine_.state.hidden, rows.data(),
                                    hidden->nb[1] * static_cast<size_t>(sets_.first_row(i)),
                                    rows.size_bytes());
        }
    }
}

void ForwardPass::run_segment(size_t index) {
    const Segment &segment = schedule_.segments[index];
    const int n = sets_.n_rows();
    const int chunk_rows = engine_.options.chunk_rows;
    if (segment.score_layer >= 0) {
        for (auto &scores : scores_) {
            scores.clear();
        }
    }
    if (n <= chunk_rows) {
        run_rows(segment, 0, n, true);
    } else {
        run_body(segment, body_rows_);
        for (int first = 0; first < n; first += chunk_rows) {
            run_rows(segment, first, std::min(n, first + chunk_rows), false);
        }
    }
    if (options_.tap != nullptr && options_.tap->wants_hidden(segment.end_layer)) {
        tap_hidden(segment.end_layer);
    }
    const size_t next = index + 1;
    if (next < schedule_.segments.size() && schedule_.segments[next].row_layer >= 0) {
        pick(schedule_.segments[next].row_layer);
    }
}

SegmentShape ForwardPass::shape_of(const Segment &segment, int first, int end) const {
    const bool is_first = &segment == &schedule_.segments.front();
    const bool is_last = &segment == &schedule_.segments.back();
    SegmentShape shape;
    shape.weights = &weights_;
    shape.level = level_;
    shape.first_row = first;
    shape.rows = sets_.shape(sets_.range(first, end), false);
    shape.from_tokens = is_first && batch_.front().hidden.empty();
    shape.dense_layers = segment.dense_layers;
    shape.score_layer = segment.score_layer;
    if (segment.score_layer >= 0) {
        shape.scores = score_shapes(shape.rows, first, segment.score_layer);
        if (shape.rows.is_batched) {
            for (int r = first; r < end; ++r) {
                shape.rows.pieces.push_back(
                    {r - first, 1, batch_[sets_.ref(r).chunk].sequence->slot(), 0});
            }
        }
    }
    shape.has_head = is_last && end_layer_ == n_layers_;
    shape.writes_hidden =
        !is_last || (options_.tap != nullptr && options_.tap->wants_hidden(segment.end_layer));
    return shape;
}

SegmentGraph &ForwardPass::run_graph(const SegmentShape &shape,
                                     const std::function<void(SegmentGraph &)> &fill) {
    return engine_.runner.run(shape, engine_.state, fill, options_.watch);
}

void ForwardPass::run_body(const Segment &segment, std::span<const RowRef> rows) {
    for (size_t first = 0; segment.row_layer >= 0 && first < rows.size();) {
        const size_t n =
            std::min(rows.size() - first, static_cast<size_t>(engine_.options.body_rows));
        GraphRows part;
        part.body = rows.subspan(first, n);
        SegmentShape shape;
        shape.weights = &weights_;
        shape.level = level_;
        shape.body_layer = segment.row_layer;
        shape.body = sets_.shape(part.body, true);
        run_graph(shape, [&](SegmentGraph &graph) { fill(graph, part); });
        first += n;
    }
}

void ForwardPass::run_rows(const Segment &segment, int first, int end, bool with_body) {
    SegmentShape shape = shape_of(segment, first, end);
    GraphRows rows;
    rows.first = first;
    rows.end = end;
    if (segment.row_layer >= 0) {
        if (with_body) {
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
    const SegmentGraph &graph = run_graph(shape, [&](SegmentGraph &g) { fill(g, rows); });
    check_stored(segment, first, end);
    if (segment.score_layer >= 0) {
        read_scores(graph, first, end);
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
        std::vector<int32_t> ids(static_cast<size_t>(tensor->ne[0]), engine_.scratch_row());
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
            tokens.push_back(batch_[ref.chunk].tokens[static_cast<size_t>(ref.row)]);
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
        for (const RowRef &ref : rows) {
            ids.push_back(batch_[ref.chunk].sequence->slot() * n_layers_ + graph.shape.score_layer);
        }
        set_input(graph.sink_ids, ids.data(), ids.size() * sizeof(int32_t));
    }
}

bool ForwardPass::wants_output(const RowRef &ref) const {
    const Chunk &chunk = batch_[ref.chunk];
    if (chunk.outputs == Outputs::last) {
        return ref.row + 1 == static_cast<int32_t>(chunk.n_rows(engine_.model.hparams().n_embd));
    }
    return chunk.outputs == Outputs::all && ref.row >= chunk.first_output_row;
}

std::vector<RowRef> ForwardPass::outputs_in(int first, int end) const {
    std::vector<RowRef> outputs;
    for (const RowRef &ref : sets_.range(first, end)) {
        if (wants_output(ref)) {
            outputs.push_back(ref);
        }
    }
    return outputs;
}

// Hands the logits on, one block for the rows of each chunk.
void ForwardPass::read_logits(const SegmentGraph &graph, std::span<const RowRef> outputs) const {
    const int n_vocab = engine_.model.hparams().n_vocab;
    const float *data = nullptr;
    std::vector<float> copy;
    if (ggml_backend_buffer_is_host(graph.logits->buffer)) {
        data = static_cast<const float *>(graph.logits->data);
    } else {
        copy.resize(outputs.size() * static_cast<size_t>(n_vocab));
        ggml_backend_tensor_get(graph.logits, copy.data(), 0, copy.size() * sizeof(float));
        data = copy.data();
    }
    check_finite("logits", {data, outputs.size() * static_cast<size_t>(n_vocab)});
    for (size_t i = 0; i < outputs.size();) {
        size_t end = i + 1;
        while (end < outputs.size() && outputs[end].chunk == outputs[i].chunk) {
            ++end;
        }
        LogitsBlock block;
        block.chunk = static_cast<size_t>(outputs[i].chunk);
        block.first_row = outputs[i].row;
        block.n_rows = static_cast<int64_t>(end - i);
        block.n_vocab = n_vocab;
        block.logits = data + i * static_cast<size_t>(n_vocab);
        options_.on_logits(block);
        i = end;
    }
}

void ForwardPass::tap_hidden(int boundary) {
    const ggml_tensor *hidden = engine_.state.hidden;
    const auto n_embd = static_cast<size_t>(hidden->ne[0]);
    std::vector<float> rows;
    for (size_t i = 0; i < batch_.size(); ++i) {
        rows.resize(batch_[i].n_rows(static_cast<int>(n_embd)) * n_embd);
        ggml_backend_tensor_get(hidden, rows.data(),
                                hidden->nb[1] * static_cast<size_t>(sets_.first_row(i)),
                                rows.size() * sizeof(float));
        check_finite("hidden states", rows);
        options_.tap->on_hidden(boundary, i, rows);
    }
}

}  // namespace orthorank
