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
    if (policy.score == ScoreKind::inherit) {
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

std::vector<ScoreShape> ForwardPass::score_shapes(const RowSet &rows, int first, int il) const {
    std::vector<ScoreShape> shapes;
    const auto add = [&](const RowRef &ref) {
        const Sequence &sequence = *batch_[ref.chunk].sequence;
        ScoreShape shape;
        if (is_selecting(static_cast<size_t>(ref.chunk), il)) {
            shape.kind = layer_plan(static_cast<size_t>(ref.chunk), il).policy.score;
            shape.probe = sequence.probes_[il].get();
        }
        shape.has_sink = sets_.position(ref) == 0;
        shapes.push_back(shape);
    };
    if (rows.is_batched) {
        for (int r = 0; r < rows.n_rows; ++r) {
            add(sets_.ref(first + r));
        }
    } else {
        for (const Piece &piece : rows.pieces) {
            add(sets_.ref(first + piece.first_row));
        }
    }
    return shapes;
}

void ForwardPass::read_scores(const SegmentGraph &graph, int first, int end) {
    if (graph.scores_batched) {
        std::vector<float> values(static_cast<size_t>(end - first));
        ggml_backend_tensor_get(graph.scores.front(), values.data(), 0,
                                values.size() * sizeof(float));
        check_finite("scores", values);
        for (int r = first; r < end; ++r) {
            scores_[sets_.ref(r).chunk].push_back(values[static_cast<size_t>(r - first)]);
        }
        return;
    }
    for (size_t i = 0; i < graph.scores.size(); ++i) {
        if (graph.scores[i] == nullptr) {
            continue;
        }
        const Piece &piece = graph.shape.rows.pieces[i];
        std::vector<float> &scores = scores_[sets_.ref(first + piece.first_row).chunk];
        const size_t n_before = scores.size();
        scores.resize(n_before + static_cast<size_t>(piece.n_rows));
        ggml_backend_tensor_get(graph.scores[i], scores.data() + n_before, 0,
                                static_cast<size_t>(piece.n_rows) * sizeof(float));
        check_finite("scores", std::span<const float>(scores).subspan(n_before));
    }
}

// Table 6's criterion needs every query of the layer before any row is picked: an extra pass over
// the layer's keys, whose column sums are added up here.
void ForwardPass::read_attention_received(int il) {
    for (size_t i = 0; i < batch_.size(); ++i) {
        const Sequence &sequence = *batch_[i].sequence;
        if (!is_selecting(i, il) ||
            sequence.plan().layers[il].policy.score != ScoreKind::attention) {
            continue;
        }
        const int first_row = sets_.first_row(i);
        const int end_row = i + 1 < batch_.size() ? sets_.first_row(i + 1) : sets_.n_rows();
        std::vector<float> &received = scores_[i];
        received.assign(static_cast<size_t>(end_row - first_row), 0.0f);
        if (batch_[i].phase == Phase::decode) {
            std::fill(received.begin(), received.end(), std::numeric_limits<float>::quiet_NaN());
            continue;
        }
        if (sequence.n_past() > 0) {
            fail(ErrorKind::usage, "policy attention-up needs the whole prompt in one pass");
        }
        for (int first = first_row; first < end_row; first += engine_.options.chunk_rows) {
            const int end = std::min(end_row, first + engine_.options.chunk_rows);
            SegmentShape shape;
            shape.weights = &weights_;
            shape.first_row = first;
            shape.rows = sets_.shape(sets_.range(first, end), false);
            shape.score_layer = il;
            shape.attention_scores = true;
            const SegmentGraph &graph = run_graph(shape, [&](SegmentGraph &g) {
                fill(g, {first, end, {}, {}, {}});
            });
            const ggml_tensor *sums = graph.scores.front();  // [1, n_kv, n_head]
            std::vector<float> values(static_cast<size_t>(ggml_nelements(sums)));
            ggml_backend_tensor_get(sums, values.data(), 0, values.size() * sizeof(float));
            check_finite("scores", values);
            for (int64_t head = 0; head < sums->ne[2]; ++head) {
                for (int key = 0; key < end - first_row; ++key) {
                    received[static_cast<size_t>(key)] +=
                        values[static_cast<size_t>(head * sums->ne[1] + key)];
                }
            }
        }
    }
}

void ForwardPass::pick(int il) {
    read_attention_received(il);
    const Stopwatch stopwatch;
    body_rows_.clear();
    corrected_.clear();
    const bool is_last =
        il == schedule_.last_layer && end_layer_ == n_layers_ && !taps_hidden_after(il);
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
    const auto n_rows = static_cast<int32_t>(batch_[chunk].n_rows(engine_.model.hparams().n_embd));
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
    const auto n_new = static_cast<int64_t>(batch_[chunk].n_rows(engine_.model.hparams().n_embd));
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
        CHECK(!is_before || chunk < options_.inherited.size());
        const auto &chosen =
            is_before ? options_.inherited[chunk].chosen : sequence.record(source).chosen;
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
    const auto n_new = static_cast<int64_t>(batch_[chunk].n_rows(engine_.model.hparams().n_embd));
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
