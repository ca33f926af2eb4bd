// The part of a forward pass that selects: scores from the graphs to the host, rows picked, the
// decisions recorded.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/stopwatch.h"
#include "engine/engine_impl.h"
#include "engine/forward.h"
#include "select/selection.h"

namespace orthorank {

namespace {

// The score that decides about new row i, at this position, given what the graph made of it.
float score_of(const Policy &policy, int il, int64_t position, std::span<const float> made,
               int64_t i) {
    if (policy.score == ScoreKind::hash) {
        return hash_score(policy.seed, il, position);
    }
    if (policy.score == ScoreKind::inherit || made.empty()) {  // or a decoded row's
        return std::numeric_limits<float>::quiet_NaN();
    }
    const float score = made[static_cast<size_t>(i)];
    return policy.score == ScoreKind::probe ? score : std::fabs(score);
}

}  // namespace

const LayerPlan &ForwardPass::layer_plan(size_t chunk, int il) const {
    return batch_[chunk].sequence->plan_in(batch_[chunk].phase).layers[static_cast<size_t>(il)];
}

bool ForwardPass::is_selecting(size_t chunk, int il) const {
    return layer_plan(chunk, il).action == Action::select;
}

// Of rows first, first + 1, ... of the packed batch, those of one chunk.
ScoreShape ForwardPass::score_shape(int first, int row, int n_rows, int il) const {
    const RowRef &ref = sets_.ref(row);
    const Sequence &sequence = *batch_[ref.chunk].sequence;
    ScoreShape shape;
    shape.first_row = row - first;
    shape.n_rows = n_rows;
    shape.slot = sequence.slot();
    shape.has_sink = sets_.position(ref) == 0;
    if (is_selecting(static_cast<size_t>(ref.chunk), il)) {
        shape.kind = layer_plan(static_cast<size_t>(ref.chunk), il).policy.score;
        shape.probe = sequence.probes_[il].get();
    }
    return shape;
}

std::vector<ScoreShape> ForwardPass::score_shapes(const RowSet &rows, int first, int il) const {
    std::vector<ScoreShape> shapes;
    for (int r = 0; r < rows.n_batched; ++r) {
        shapes.push_back(score_shape(first, first + r, 1, il));
    }
    const auto is_like_first = [&](const ScoreShape &shape) {
        return shape.kind == shapes.front().kind && shape.probe == shapes.front().probe;
    };
    if (rows.n_batched > 1 && can_batch_scores(shapes.front().kind) &&
        std::all_of(shapes.begin(), shapes.end(), is_like_first)) {
        shapes.resize(1);
        shapes.front().n_rows = rows.n_batched;
        shapes.front().is_batched = true;
        shapes.front().slot = 0;  // any: the graph serves all
    }
    for (const Piece &piece : rows.pieces) {
        shapes.push_back(score_shape(first, first + piece.first_row, piece.n_rows, il));
    }
    return shapes;
}

void ForwardPass::read_scores(const SegmentGraph &graph, int first) {
    std::vector<float> values;
    for (size_t i = 0; i < graph.scores.size(); ++i) {
        if (graph.scores[i] == nullptr) {
            continue;
        }
        const ScoreShape &shape = graph.shape.scores[i];
        values.resize(static_cast<size_t>(shape.n_rows));
        ggml_backend_tensor_get(graph.scores[i], values.data(), 0, values.size() * sizeof(float));
        check_finite("scores", values);
        for (int r = 0; r < shape.n_rows; ++r) {
            const RowRef &ref = sets_.ref(first + shape.first_row + r);
            scores_[static_cast<size_t>(ref.chunk)].push_back(values[static_cast<size_t>(r)]);
        }
    }
}

// Attention received (Table 6's criterion, and that of the last queries alone) needs its queries of
// the layer before any row is picked: an extra pass over the layer's keys, whose column sums are
// added up.
void ForwardPass::add_received_launches(int il) {
    for (size_t i = 0; i < batch_.size(); ++i) {
        const Policy &policy = layer_plan(i, il).policy;
        if (!is_selecting(i, il) || batch_[i].phase == Phase::decode ||
            !needs_whole_prompt(policy.score)) {
            continue;
        }
        const int n_rows = n_rows_of(i);
        const int end_row = sets_.first_row(i) + n_rows;
        const int n_asking =
            policy.score == ScoreKind::query ? std::min(policy.window, n_rows) : n_rows;
        const int chunk_rows = engine_.options.chunk_rows;
        for (int first = end_row - n_asking; first < end_row; first += chunk_rows) {
            launches_.push_back(
                {Launch::Kind::received, first, std::min(end_row, first + chunk_rows)});
        }
    }
}

void ForwardPass::run_received(int first, int end) {
    const RowRef &ref = sets_.ref(first);
    SegmentShape shape;
    shape.weights = &weights_;
    shape.hidden = hidden_.get();
    shape.first_row = first;
    shape.rows = sets_.shape(sets_.range(first, end), false);
    shape.score_layer = schedule_.segments[segment_].score_layer;
    shape.begin_layer = shape.score_layer;
    shape.end_layer = shape.score_layer;
    shape.attention_scores = true;
    const SegmentGraph &graph = engine_.runner.run(
        shape,
        [&](SegmentGraph &g) {
            fill(g, {first, end, {}, {}, {}});
        },
        options_.watch);
    const ggml_tensor *sums = graph.scores.front();  // [1, n_kv, n_head]
    std::vector<float> values(static_cast<size_t>(ggml_nelements(sums)));
    ggml_backend_tensor_get(sums, values.data(), 0, values.size() * sizeof(float));
    check_finite("scores", values);
    std::vector<float> &received = scores_[static_cast<size_t>(ref.chunk)];
    received.resize(static_cast<size_t>(n_rows_of(static_cast<size_t>(ref.chunk))), 0.0f);
    // Later rows' keys are not among the cells: these rows do not see them.
    const size_t n_keys = std::min(received.size(), static_cast<size_t>(sums->ne[1]));
    for (int64_t head = 0; head < sums->ne[2]; ++head) {
        for (size_t key = 0; key < n_keys; ++key) {
            received[key] += values[static_cast<size_t>(head * sums->ne[1]) + key];
        }
    }
}

void ForwardPass::pick(int il) {
    const Stopwatch stopwatch;
    body_rows_.clear();
    corrected_.clear();
    const bool is_last = il == schedule_.last_layer && end_layer_ == n_layers_ && !taps_behind(il);
    for (size_t i = 0; i < batch_.size(); ++i) {
        const std::vector<int32_t> rows = pick_of_chunk(il, i);
        for (int32_t row : rows) {
            const RowRef ref{static_cast<int>(i), row};
            if (!is_last || wants_output(ref)) {
                body_rows_.push_back(ref);
            }
        }
        add_corrected(il, i, rows, is_last);
    }
    if (options_.watch != nullptr) {
        options_.watch->on_pick(stopwatch.elapsed_s());
    }
}

void ForwardPass::add_corrected(int il, size_t chunk, std::span<const int32_t> computed,
                                bool only_outputs) {
    const CorrectionTensors *correction = batch_[chunk].sequence->corrections_[il].get();
    if (correction == nullptr) {
        return;
    }
    auto group = std::find_if(corrected_.begin(), corrected_.end(),
                              [=](const CorrectedRows &g) { return g.correction == correction; });
    if (group == corrected_.end()) {
        group = corrected_.insert(group, {correction, {}});
    }
    const int32_t n_rows = n_rows_of(chunk);
    size_t next = 0;  // of the computed rows
    for (int32_t row = 0; row < n_rows; ++row) {
        const RowRef ref{static_cast<int>(chunk), row};
        if (next < computed.size() && computed[next] == row) {
            ++next;
        } else if (sets_.position(ref) > 0 && (!only_outputs || wants_output(ref))) {
            group->rows.push_back(ref);
        }
    }
}

void ForwardPass::record_scores(int il, size_t chunk) {
    Sequence &sequence = *batch_[chunk].sequence;
    const int64_t n_new = n_rows_of(chunk);
    const int64_t n_past = sequence.n_past();
    LayerRecord &record = sequence.records_[static_cast<size_t>(il)];
    CHECK(static_cast<int64_t>(record.scores.size()) <= n_past);
    // Rows that were decoded where the plan applies to the prefill alone have no score.
    record.scores.resize(static_cast<size_t>(n_past), std::numeric_limits<float>::quiet_NaN());
    record.chosen.resize(static_cast<size_t>(n_past), 1);
    for (int64_t i = 0; i < n_new; ++i) {
        record.scores.push_back(
            score_of(layer_plan(chunk, il).policy, il, n_past + i, scores_[chunk], i));
    }
    if (n_past == 0) {
        record.scores.front() = std::numeric_limits<float>::infinity();
    }
    record.chosen.resize(static_cast<size_t>(n_past + n_new), 1);
}

std::vector<int32_t> ForwardPass::picked_positions(int il, size_t chunk) const {
    const Sequence &sequence = *batch_[chunk].sequence;
    const LayerPlan &layer = layer_plan(chunk, il);
    const std::vector<float> &scores = sequence.record(il).scores;
    const auto n = static_cast<int64_t>(scores.size());
    const int64_t n_past = sequence.n_past();
    std::vector<int32_t> rows;
    if (layer.policy.score == ScoreKind::inherit) {
        const int source = sequence.plan().inherited_from(il);
        const bool is_before = source < options_.first_layer;
        const size_t given = order_[chunk];
        CHECK(!is_before || given < options_.inherited.size());
        const auto &chosen =
            is_before ? options_.inherited[given].chosen : sequence.record(source).chosen;
        CHECK(static_cast<int64_t>(chosen.size()) == n);
        for (int64_t i = n_past; i < n; ++i) {
            if (chosen[static_cast<size_t>(i)] != 0) {
                rows.push_back(static_cast<int32_t>(i));
            }
        }
        return rows;
    }
    const bool is_prompt = batch_[chunk].phase == Phase::prefill;
    const int64_t n_kept = is_prompt ? std::min<int64_t>(sequence.plan().keep_last, n - n_past) : 0;
    rows = pick_rows(layer.policy.order, std::span(scores).first(static_cast<size_t>(n - n_kept)),
                     n_past, layer.ratio);
    for (int64_t i = n - n_kept; i < n; ++i) {
        rows.push_back(static_cast<int32_t>(i));
    }
    return rows;
}

// The chunk's rows that the layer computes; records scores and decisions.
std::vector<int32_t> ForwardPass::pick_of_chunk(int il, size_t chunk) {
    Sequence &sequence = *batch_[chunk].sequence;
    const Phase phase = batch_[chunk].phase;
    const int64_t n_new = n_rows_of(chunk);
    const int64_t n_past = sequence.n_past();
    std::vector<int32_t> rows;
    if (layer_plan(chunk, il).action == Action::skip || n_new == 0) {
        return rows;
    }
    const bool is_applied = sequence.apply() == Apply::both ||
                            (sequence.apply() == Apply::prefill) == (phase == Phase::prefill);
    if (is_selecting(chunk, il)) {
        record_scores(il, chunk);
    }
    if (!is_selecting(chunk, il) || !is_applied) {
        for (int64_t i = 0; i < n_new; ++i) {
            rows.push_back(static_cast<int32_t>(i));
        }
        return rows;
    }
    rows = picked_positions(il, chunk);
    std::vector<uint8_t> &chosen = sequence.records_[static_cast<size_t>(il)].chosen;
    std::fill(chosen.begin() + n_past, chosen.end(), uint8_t{0});
    for (int32_t &row : rows) {
        chosen[static_cast<size_t>(row)] = 1;
        row = static_cast<int32_t>(row - n_past);
    }
    sequence.n_rows_offered_ += n_new;
    sequence.n_rows_computed_ += static_cast<int64_t>(rows.size());
    return rows;
}

}  // namespace orthorank
