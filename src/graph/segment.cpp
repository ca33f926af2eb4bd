#include "graph/segment.h"

#include <algorithm>
#include <new>

#include "base/error.h"
#include "graph/cpu_correction.h"

namespace orthorank {

namespace {

class SegmentBuilder {
 public:
    SegmentBuilder(const Model &model, const KvCache &cache, const DeviceRows *sinks,
                   SegmentGraph &graph)
        : model_(model),
          sinks_(sinks),
          graph_(graph),
          shape_(graph.shape),
          ctx_(graph.ctx.get()),
          block_(ctx_, graph.gf, model.hparams(), *shape_.weights, &cache, shape_.own),
          behind_(ctx_, graph.gf, model.hparams(), *shape_.weights, &cache, shape_.own_behind),
          device_(model.split().device_of(shape_.begin_layer)) {}

    void build() {
        build_nodes();
        graph_.stored_sum = block_.stored_sum();
        if (graph_.stored_sum != nullptr) {
            output(graph_.stored_sum);
        }
        end_part();
    }

 private:
    void build_nodes() {
        ggml_tensor *h = first_hidden();
        if (shape_.rows.n_rows == 0) {
            return;  // a row layer's body alone
        }
        make_row_inputs();
        if (shape_.attention_scores) {
            attention_scores(h);
            return;
        }
        for (const int il : shape_.dense_layers) {
            const bool is_for_outputs = shape_.last_layer >= 0 && il >= shape_.last_layer;
            if (is_for_outputs && shape_.outputs.n_rows == 0 && !has_keys(il)) {
                return;  // nobody reads anything more
            }
            go_to(il, h);
            h = is_for_outputs ? layer_of_outputs(il, h) : dense_layer(il, h);
        }
        if (shape_.writes_hidden && (h != hidden_rows_ || hidden_out() != hidden_in())) {
            go_to(shape_.end_layer, h);
            expand(ggml_cpy(ctx_, h, view_rows(hidden_out(), shape_.first_row, h->ne[1])));
        }
        if (shape_.score_layer >= 0) {
            go_to(shape_.score_layer, h);
            score_tail(h);
        }
        if (shape_.has_head && shape_.outputs.n_rows > 0) {
            go_to(model_.hparams().n_layers, h);
            head(h);
        }
    }

    // What follows is of this layer: on its device, where h is copied to.
    void go_to(int il, ggml_tensor *h) {
        const int device = model_.split().device_of(il);
        if (device != device_) {
            expand(h);
            end_part();
            device_ = device;
        }
    }

    void end_part() { graph_.parts.push_back({ggml_graph_n_nodes(graph_.gf), device_}); }

    ggml_tensor *hidden_of(int il) const {
        return shape_.hidden->tensor(model_.split().device_of(il));
    }
    ggml_tensor *hidden_in() const { return hidden_of(shape_.begin_layer); }
    ggml_tensor *hidden_out() const { return hidden_of(shape_.end_layer); }

    void expand(ggml_tensor *tensor) { ggml_build_forward_expand(graph_.gf, tensor); }

    ggml_tensor *input(ggml_type type, int64_t n) {
        ggml_tensor *tensor = ggml_new_tensor_1d(ctx_, type, n);
        ggml_set_input(tensor);
        return tensor;
    }

    // The residual stream that the rows start from, after the row layer's body if there is one.
    ggml_tensor *first_hidden() {
        if (shape_.from_tokens) {
            graph_.tokens = input(GGML_TYPE_I32, shape_.rows.n_rows);
            return block_.embed(graph_.tokens);
        }
        ggml_tensor *hidden = hidden_in();
        if (shape_.body_layer >= 0 && shape_.body.n_rows > 0) {
            hidden = row_layer_body();
        }
        for (const UpdateShape &update : shape_.updates) {
            hidden = update_rows(hidden, update);
        }
        if (shape_.rows.n_rows == 0) {
            return nullptr;
        }
        hidden_rows_ = view_rows(hidden, shape_.first_row, shape_.rows.n_rows);
        return hidden_rows_;
    }

    // Steps 6 to 10 of an OrthoRank layer: gather the chosen rows, compute them, scatter them back.
    // Rows that are not chosen are not touched.
    ggml_tensor *row_layer_body() {
        graph_.body_ids = input(GGML_TYPE_I32, shape_.body.n_rows);
        graph_.body = block_.make_inputs(shape_.body);
        ggml_tensor *h = ggml_get_rows(ctx_, hidden_in(), graph_.body_ids);  // [n_embd, k]
        ggml_tensor *a = block_.attention_norm(shape_.body_layer, h);
        h = block_.body(shape_.body_layer, h, a, shape_.body, graph_.body);
        ggml_tensor *updated = ggml_set_rows(ctx_, hidden_in(), h, graph_.body_ids);
        expand(updated);
        return updated;
    }

    // The rows that a row layer leaves out: h + bias + up (down a), a being the normed h. The rows
    // of `hidden` that are not listed are not touched.
    ggml_tensor *update_rows(ggml_tensor *hidden, const UpdateShape &update) {
        const CorrectionTensors &correction = *update.correction;
        ggml_tensor *ids = input(GGML_TYPE_I32, update.n_rows);
        graph_.update_ids.push_back(ids);
        ggml_tensor *norm =
            shape_.weights->layers[static_cast<size_t>(shape_.body_layer)].attn_norm;
        ggml_tensor *updated = shape_.own.level != CpuLevel::none && !shape_.own.for_few_rows &&
                                       norm != nullptr && fits_cpu_correction(correction)
                                   ? cpu_correction(ctx_, shape_.own.level, hidden, ids, norm,
                                                    model_.hparams().rms_eps, correction)
                                   : corrected(hidden, ids, correction);
        expand(updated);
        return updated;
    }

    // The same by ggml's operations.
    ggml_tensor *corrected(ggml_tensor *hidden, ggml_tensor *ids,
                           const CorrectionTensors &correction) {
        ggml_tensor *h = ggml_get_rows(ctx_, hidden, ids);  // [n_embd, n_rows]
        ggml_tensor *sum = ggml_add(ctx_, h, correction.bias);
        if (correction.down != nullptr) {
            ggml_tensor *a = block_.attention_norm(shape_.body_layer, h);
            ggml_tensor *low = ggml_mul_mat(ctx_, correction.down, a);  // [rank, n_rows]
            sum = ggml_add(ctx_, ggml_mul_mat(ctx_, correction.up, low), sum);
        }
        return ggml_set_rows(ctx_, hidden, sum, ids);
    }

    void make_row_inputs() {
        graph_.rows = block_.make_inputs(shape_.rows);
        graph_.cells = input(GGML_TYPE_I64, shape_.rows.n_rows);
    }

    ggml_tensor *dense_layer(int il, ggml_tensor *h) {
        if (il != shape_.attention_layer) {
            return block_.layer(il, h, shape_.rows, graph_.rows, graph_.cells);
        }
        ggml_tensor *a = block_.attention_norm(il, h);
        block_.store_kv(il, a, graph_.rows.positions, graph_.cells);
        graph_.attention = output(block_.attention_probabilities(il, a, shape_.rows, graph_.rows));
        return block_.body(il, h, a, shape_.rows, graph_.rows);
    }

    bool has_keys(int il) const { return model_.hparams().has_keys(il); }

    // Behind the last keys only the rows that somebody reads are computed.
    ggml_tensor *layer_of_outputs(int il, ggml_tensor *h) {
        if (shape_.outputs.n_rows == shape_.rows.n_rows) {
            return dense_layer(il, h);
        }
        if (is_gathered_) {
            return behind_.layer(il, h, shape_.outputs, graph_.outputs, nullptr);
        }
        ggml_tensor *a = nullptr;
        if (has_keys(il)) {
            a = block_.attention_norm(il, h);
            block_.store_kv(il, a, graph_.rows.positions, graph_.cells);
        }
        if (shape_.outputs.n_rows == 0) {
            return h;
        }
        graph_.output_ids = input(GGML_TYPE_I32, shape_.outputs.n_rows);
        graph_.outputs = block_.make_inputs(shape_.outputs);
        is_gathered_ = true;
        h = ggml_get_rows(ctx_, h, graph_.output_ids);
        a = a != nullptr ? ggml_get_rows(ctx_, a, graph_.output_ids) : block_.attention_norm(il, h);
        return block_.body(il, h, a, shape_.outputs, graph_.outputs);
    }

    void head(ggml_tensor *h) {
        if (!is_gathered_ && shape_.outputs.n_rows != shape_.rows.n_rows) {
            graph_.output_ids = input(GGML_TYPE_I32, shape_.outputs.n_rows);
            h = ggml_get_rows(ctx_, h, graph_.output_ids);
        }
        graph_.logits = block_.logits(h);
        ggml_set_output(graph_.logits);
        expand(graph_.logits);
    }

    // The end of a segment: what the next row layer needs of all rows.
    void score_tail(ggml_tensor *h) {
        const int il = shape_.score_layer;
        ggml_tensor *a = block_.attention_norm(il, h);
        block_.store_kv(il, a, graph_.rows.positions, graph_.cells);
        for (const ScoreShape &score : shape_.scores) {
            graph_.scores.push_back(scores_of(h, a, score));
        }
    }

    ggml_tensor *output(ggml_tensor *tensor) {
        ggml_set_output(tensor);
        expand(tensor);
        return tensor;
    }

    ggml_tensor *view_rows(ggml_tensor *x, int first, int64_t n) {
        return ggml_view_2d(ctx_, x, x->ne[0], n, x->nb[1], x->nb[1] * static_cast<size_t>(first));
    }

    // Algorithm 1's inner products with the sink, or a control's score: [n_rows].
    ggml_tensor *scores_of(ggml_tensor *h, ggml_tensor *a, const ScoreShape &score) {
        if (score.kind == ScoreKind::hash || score.kind == ScoreKind::inherit ||
            needs_whole_prompt(score.kind)) {
            return nullptr;
        }
        if (score.kind == ScoreKind::attention_output) {
            ggml_tensor *norms = attention_output_norms(a);
            return output(ggml_cont(ctx_, view_rows(norms, score.first_row, score.n_rows)));
        }
        ggml_tensor *x =
            view_rows(score.kind == ScoreKind::inner_raw ? h : a, score.first_row, score.n_rows);
        if (score.kind == ScoreKind::probe) {
            return output(ggml_mul_mat(ctx_, x, score.probe->weight));  // [n_rows, 1]
        }
        if (score.kind == ScoreKind::norm) {
            return output(norms_of(x));
        }
        if (score.kind == ScoreKind::cosine) {
            x = ggml_l2_norm(ctx_, x, k_l2_eps);
        }
        if (score.is_batched) {
            return products_with_sinks(x, score.n_rows);
        }
        ggml_tensor *sink = view_rows(sinks(), sink_row(score.slot), 1);
        if (score.has_sink) {
            sink = ggml_cpy(ctx_, view_rows(x, 0, 1), sink);
            expand(sink);
        }
        return output(ggml_mul_mat(ctx_, x, sink));  // [n_rows, 1]
    }

    // |x_i|, a number a row: [1, n].
    ggml_tensor *norms_of(ggml_tensor *x) {
        return ggml_sqrt(ctx_, ggml_sum_rows(ctx_, ggml_sqr(ctx_, x)));
    }

    // Of all rows of the graph, at once: attention of all that anybody's score needs, [1, n].
    ggml_tensor *attention_output_norms(ggml_tensor *a) {
        if (attention_output_norms_ == nullptr) {
            attention_output_norms_ =
                norms_of(block_.attention_output(shape_.score_layer, a, shape_.rows, graph_.rows));
        }
        return attention_output_norms_;
    }

    // Each row with its own sink: [1, 1, n].
    ggml_tensor *products_with_sinks(ggml_tensor *x, int64_t n) {
        const int64_t n_embd = model_.hparams().n_embd;
        graph_.sink_ids = input(GGML_TYPE_I32, n);
        ggml_tensor *of_rows = ggml_get_rows(ctx_, sinks(), graph_.sink_ids);
        return output(ggml_mul_mat(ctx_, ggml_reshape_3d(ctx_, x, n_embd, 1, n),
                                   ggml_reshape_3d(ctx_, of_rows, n_embd, 1, n)));
    }

    ggml_tensor *sinks() const {
        return sinks_->tensor(model_.split().device_of(shape_.score_layer));
    }
    int sink_row(int slot) const { return slot * model_.hparams().n_layers + shape_.score_layer; }

    void attention_scores(ggml_tensor *h) {
        ggml_tensor *a = block_.attention_norm(shape_.score_layer, h);
        graph_.scores.push_back(
            output(block_.attention_received(shape_.score_layer, a, shape_.rows, graph_.rows)));
    }

    static constexpr float k_l2_eps = 1e-12f;

    const Model &model_;
    const DeviceRows *sinks_;
    SegmentGraph &graph_;
    const SegmentShape &shape_;
    ggml_context *ctx_;
    BlockBuilder block_;
    BlockBuilder behind_;  // the last layer
    int device_;           // that has the layer at hand
    ggml_tensor *hidden_rows_ = nullptr;
    ggml_tensor *attention_output_norms_ = nullptr;
    bool is_gathered_ = false;  // h holds the output rows only
};

constexpr size_t k_max_score_nodes = 16;   // of one piece
constexpr size_t k_max_update_nodes = 16;  // of one correction

}  // namespace

bool can_batch_scores(ScoreKind kind) {
    return kind == ScoreKind::inner || kind == ScoreKind::inner_raw || kind == ScoreKind::cosine ||
           kind == ScoreKind::norm || kind == ScoreKind::probe ||
           kind == ScoreKind::attention_output;
}

SegmentGraph build_segment(const Model &model, const KvCache &cache, const DeviceRows *sinks,
                           const SegmentShape &shape) {
    SegmentGraph graph;
    graph.shape = shape;
    const size_t n_pieces = 1 + std::max({shape.rows.pieces.size(), shape.body.pieces.size(),
                                          shape.outputs.pieces.size()});  // 1: the batched rows
    const size_t n_nodes = max_nodes(static_cast<int>(shape.dense_layers.size()) + 2, n_pieces,
                                     model.hparams().n_expert_used) +
                           k_max_score_nodes * shape.scores.size() +
                           k_max_update_nodes * shape.updates.size();
    const size_t bytes =
        ggml_tensor_overhead() * 2 * n_nodes + ggml_graph_overhead_custom(n_nodes, false);
    // ggml's own allocation would abort where memory is short.
    graph.memory.reset(new (std::nothrow) std::byte[bytes]);
    if (!graph.memory) {
        fail(ErrorKind::limit, "no memory for a graph of {} nodes", n_nodes);
    }
    graph.ctx.reset(ggml_init({bytes, graph.memory.get(), true}));
    graph.gf = ggml_new_graph_custom(graph.ctx.get(), n_nodes, false);
    SegmentBuilder(model, cache, sinks, graph).build();
    return graph;
}

}  // namespace orthorank
