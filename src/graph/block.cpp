#include "graph/block.h"

#include <cmath>

#include "base/error.h"
#include "graph/cpu_attention.h"
#include "graph/cpu_row_attention.h"

namespace orthorank {

size_t max_nodes(int n_layers, size_t n_pieces, int n_expert_used) {
    const size_t n_of_layer = 64 + 10 * n_pieces + 2 * static_cast<size_t>(n_expert_used);
    return 128 + 32 * n_pieces + static_cast<size_t>(n_layers) * n_of_layer;
}

namespace {

ggml_tensor *make_input(ggml_context *ctx, ggml_tensor *tensor) {
    (void)ctx;
    ggml_set_input(tensor);
    return tensor;
}

// Joins tensors [d, n_i] along their rows, pairwise, so that each row is copied log(n) times.
ggml_tensor *concat_rows(ggml_context *ctx, std::vector<ggml_tensor *> parts) {
    CHECK(!parts.empty());
    while (parts.size() > 1) {
        std::vector<ggml_tensor *> joined;
        for (size_t i = 0; i + 1 < parts.size(); i += 2) {
            joined.push_back(ggml_concat(ctx, parts[i], parts[i + 1], 1));
        }
        if (parts.size() % 2 == 1) {
            joined.push_back(parts.back());
        }
        parts = std::move(joined);
    }
    return parts.front();
}

// Rows first .. first + n - 1 of x [d, m].
ggml_tensor *view_rows(ggml_context *ctx, ggml_tensor *x, int first, int n) {
    if (first == 0 && x->ne[1] == n) {
        return x;
    }
    return ggml_view_2d(ctx, x, x->ne[0], n, x->nb[1], x->nb[1] * static_cast<size_t>(first));
}

}  // namespace

RowInputs BlockBuilder::make_inputs(const RowSet &rows) const {
    RowInputs inputs;
    inputs.positions = make_input(ctx_, ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_rows));
    if (rows.n_batched > 0) {
        inputs.batch_mask = make_input(
            ctx_, ggml_new_tensor_4d(ctx_, GGML_TYPE_F16, rows.n_kv, 1, 1, rows.n_slots));
        inputs.row_of_slot =
            make_input(ctx_, ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_slots));
        inputs.slot_of_row =
            make_input(ctx_, ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_batched));
    }
    for (const Piece &piece : rows.pieces) {
        inputs.masks.push_back(
            make_input(ctx_, ggml_new_tensor_2d(ctx_, GGML_TYPE_F16, piece.n_kv, piece.n_rows)));
    }
    return inputs;
}

ggml_tensor *BlockBuilder::rms_norm(ggml_tensor *x, ggml_tensor *weight) const {
    return ggml_mul(ctx_, ggml_rms_norm(ctx_, x, hparams_.rms_eps), weight);
}

bool BlockBuilder::takes_rows(const ggml_tensor *weight) const {
    return own_.level != CpuLevel::none && own_.for_few_rows && fits_cpu_rows(weight);
}

// Rows that come from a norm are normed where they are used: its nodes are computed only if
// something else reads them.
RowsInput BlockBuilder::rows_input(ggml_tensor *x) const {
    const bool is_normed = x->op == GGML_OP_MUL && x->src[0]->op == GGML_OP_RMS_NORM;
    return is_normed ? RowsInput{x->src[0]->src[0], x->src[1], hparams_.rms_eps}
                     : RowsInput{x, nullptr, 0};
}

// weight [d, m], x [d, n] -> [m, n].
ggml_tensor *BlockBuilder::product(ggml_tensor *weight, ggml_tensor *x) const {
    if (takes_rows(weight)) {
        return cpu_rows(ctx_, own_.level, {{weight, nullptr}}, rows_input(x));
    }
    const bool takes_panels = own_.level != CpuLevel::none && !own_.for_few_rows;
    return takes_panels && fits_cpu_matmul(weight) ? cpu_matmul_.multiply(ctx_, weight, x)
                                                   : ggml_mul_mat(ctx_, weight, x);
}

// weights [d, m, n_expert], x [d, 1 or n_used, n], ids [n_used, n] -> [m, n_used, n]
ggml_tensor *BlockBuilder::product_id(ggml_tensor *weights, ggml_tensor *x,
                                      ggml_tensor *ids) const {
    return own_.level == CpuLevel::none || own_.for_few_rows || !fits_cpu_matmul(weights)
               ? ggml_mul_mat_id(ctx_, weights, x, ids)
               : cpu_matmul_.multiply_id(ctx_, weights, x, ids);
}

ggml_tensor *BlockBuilder::project(ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x) const {
    if (bias != nullptr && takes_rows(weight)) {
        return cpu_rows(ctx_, own_.level, {{weight, bias}}, rows_input(x));
    }
    ggml_tensor *y = product(weight, x);
    return bias ? ggml_add(ctx_, y, bias) : y;
}

ggml_tensor *BlockBuilder::project_onto(ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x,
                                        ggml_tensor *residual) const {
    if (takes_rows(weight)) {
        return cpu_rows_onto(ctx_, own_.level, {weight, bias}, rows_input(x), residual);
    }
    return ggml_add(ctx_, project(weight, bias, x), residual);
}

ggml_tensor *BlockBuilder::rope(ggml_tensor *x, ggml_tensor *positions) const {
    const int mode =
        hparams_.rope_type == RopeType::neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    return ggml_rope_ext(
        ctx_, x, positions, weights_.rope_freqs, hparams_.n_rot, mode, hparams_.rope_n_ctx_orig,
        hparams_.rope_freq_base, hparams_.rope_freq_scale, hparams_.rope_ext_factor,
        hparams_.rope_attn_factor, hparams_.rope_beta_fast, hparams_.rope_beta_slow);
}

ggml_tensor *BlockBuilder::attention_norm(int il, ggml_tensor *h) const {
    return rms_norm(h, weights_.layers[il].attn_norm);
}

ggml_tensor *BlockBuilder::keys(int il, ggml_tensor *a, ggml_tensor *positions) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *k = project(layer.attn_k, layer.attn_k_bias, a);
    k = ggml_reshape_3d(ctx_, k, hparams_.head_dim_k, hparams_.layers[il].n_head_kv, a->ne[1]);
    if (layer.attn_k_norm != nullptr) {
        k = rms_norm(k, layer.attn_k_norm);
    }
    return rope(k, positions);  // [head_dim_k, n_head_kv, n]
}

void BlockBuilder::store_kv(int il, ggml_tensor *a, ggml_tensor *positions,
                            ggml_tensor *cells) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *k = keys(il, a, positions);
    ggml_tensor *v = project(layer.attn_v, layer.attn_v_bias, a);  // [n_embd_v, n]
    store(il, ggml_reshape_2d(ctx_, k, hparams_.n_embd_k(il), a->ne[1]), v, cells);
}

void BlockBuilder::store(int il, ggml_tensor *k, ggml_tensor *v, ggml_tensor *cells) const {
    ggml_build_forward_expand(gf_, ggml_set_rows(ctx_, cache_->k(il), k, cells));
    ggml_build_forward_expand(gf_, ggml_set_rows(ctx_, cache_->v(il), v, cells));
}

ggml_tensor *BlockBuilder::queries(int il, ggml_tensor *a, ggml_tensor *positions) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *q = project(layer.attn_q, layer.attn_q_bias, a);
    q = ggml_reshape_3d(ctx_, q, hparams_.head_dim_k, hparams_.layers[il].n_head, a->ne[1]);
    if (layer.attn_q_norm != nullptr) {
        q = rms_norm(q, layer.attn_q_norm);
    }
    return rope(q, positions);  // [head_dim_k, n_head, n_rows]
}

// Q, K and V in one node, and where queries and keys have no norms of their own one rotation.
BlockBuilder::Projected BlockBuilder::project_all(int il, ggml_tensor *a,
                                                  ggml_tensor *positions) const {
    const LayerWeights &layer = weights_.layers[il];
    const LayerShape &shape = hparams_.layers[il];
    const int64_t n = a->ne[1];
    ggml_tensor *all = cpu_rows(ctx_, own_.level,
                                {{layer.attn_q, layer.attn_q_bias},
                                 {layer.attn_k, layer.attn_k_bias},
                                 {layer.attn_v, layer.attn_v_bias}},
                                rows_input(a));
    const auto heads_of = [&](ggml_tensor *from, int first, int n_heads) {
        const size_t bytes = ggml_row_size(GGML_TYPE_F32, hparams_.head_dim_k);
        const size_t of_row = from == all ? from->nb[1] : from->nb[2];
        return ggml_view_3d(ctx_, from, hparams_.head_dim_k, n_heads, n, bytes, of_row,
                            bytes * static_cast<size_t>(first));
    };
    Projected projected;
    ggml_tensor *k;
    if (layer.attn_q_norm == nullptr && layer.attn_k_norm == nullptr) {
        ggml_tensor *rotated = rope(heads_of(all, 0, shape.n_head + shape.n_head_kv), positions);
        projected.q = heads_of(rotated, 0, shape.n_head);
        k = heads_of(rotated, shape.n_head, shape.n_head_kv);
    } else {
        const auto normed = [this](ggml_tensor *x, ggml_tensor *weight) {
            return weight != nullptr ? rms_norm(x, weight) : x;
        };
        projected.q = rope(normed(heads_of(all, 0, shape.n_head), layer.attn_q_norm), positions);
        k = rope(normed(heads_of(all, shape.n_head, shape.n_head_kv), layer.attn_k_norm),
                 positions);
    }
    projected.k = ggml_view_2d(ctx_, k, hparams_.n_embd_k(il), n, k->nb[2], 0);
    projected.v =
        ggml_view_2d(ctx_, all, hparams_.n_embd_v(il), n, all->nb[1],
                     ggml_row_size(GGML_TYPE_F32, hparams_.n_embd_q(il) + hparams_.n_embd_k(il)));
    return projected;
}

// The first n_kv cells of n_slots slots: [head_dim, n_kv, n_head_kv, n_slots].
ggml_tensor *BlockBuilder::cache_view(ggml_tensor *tensor, int head_dim, int n_head_kv, int slot,
                                      int n_slots, int n_kv) const {
    const size_t slot_bytes = tensor->nb[1] * static_cast<size_t>(cache_->n_ctx());
    return ggml_view_4d(ctx_, tensor, head_dim, n_kv, n_head_kv, n_slots, tensor->nb[1],
                        ggml_row_size(tensor->type, head_dim), slot_bytes,
                        slot_bytes * static_cast<size_t>(slot));
}

ggml_tensor *BlockBuilder::attend_piece(int il, ggml_tensor *q, const Piece &piece,
                                        ggml_tensor *mask) const {
    const LayerShape &shape = hparams_.layers[il];
    ggml_tensor *k =
        cache_view(cache_->k(il), hparams_.head_dim_k, shape.n_head_kv, piece.slot, 1, piece.n_kv);
    ggml_tensor *v =
        cache_view(cache_->v(il), hparams_.head_dim_v, shape.n_head_kv, piece.slot, 1, piece.n_kv);
    ggml_tensor *rows = q;
    if (piece.first_row != 0 || q->ne[2] != piece.n_rows) {
        rows = ggml_view_3d(ctx_, q, q->ne[0], q->ne[1], piece.n_rows, q->nb[1], q->nb[2],
                            q->nb[2] * static_cast<size_t>(piece.first_row));
    }
    if (fits_cpu_attention(rows, k, v)) {
        const int n_lanes = own_.level == CpuLevel::avx2 ? 8 : widest_lanes();
        return ggml_reshape_2d(ctx_, cpu_attention(ctx_, rows, k, v, mask, n_lanes),
                               hparams_.head_dim_v * shape.n_head, piece.n_rows);
    }
    if (own_.level != CpuLevel::none && fits_cpu_row_attention(k, v)) {
        return cpu_row_attention(ctx_, own_.level, rows, k, v, mask);
    }
    rows = ggml_permute(ctx_, rows, 0, 2, 1, 3);  // [head_dim_k, n_rows, n_head]
    const float scale = 1.0f / std::sqrt(static_cast<float>(hparams_.head_dim_k));
    ggml_tensor *o = ggml_flash_attn_ext(ctx_, rows, k, v, mask, scale, 0.0f, 0.0f);
    ggml_prec_set_acc(o, GGML_PREC_F32);
    return ggml_reshape_2d(ctx_, o, hparams_.head_dim_v * shape.n_head, piece.n_rows);
}

// One query per slot. Slots without a row get row 0 and a mask that hides every cell, which the
// kernel skips; what comes out for them is dropped.
ggml_tensor *BlockBuilder::attend_batched(int il, ggml_tensor *q, const RowSet &rows,
                                          const RowInputs &inputs) const {
    const LayerShape &shape = hparams_.layers[il];
    const int n_embd_q = hparams_.n_embd_q(il);
    const int n_embd_o = hparams_.head_dim_v * shape.n_head;
    ggml_tensor *k = cache_view(cache_->k(il), hparams_.head_dim_k, shape.n_head_kv,
                                rows.first_slot, rows.n_slots, rows.n_kv);
    ggml_tensor *v = cache_view(cache_->v(il), hparams_.head_dim_v, shape.n_head_kv,
                                rows.first_slot, rows.n_slots, rows.n_kv);
    if (own_.level != CpuLevel::none && fits_cpu_row_attention(k, v)) {
        ggml_tensor *batched =
            ggml_view_3d(ctx_, q, q->ne[0], q->ne[1], rows.n_batched, q->nb[1], q->nb[2], 0);
        return cpu_row_attention(ctx_, own_.level, batched, k, v, inputs.batch_mask,
                                 inputs.slot_of_row);
    }
    ggml_tensor *by_row = ggml_view_2d(ctx_, q, n_embd_q, rows.n_batched, q->nb[2], 0);
    ggml_tensor *by_slot = ggml_get_rows(ctx_, by_row, inputs.row_of_slot);  // [n_embd_q, n_slots]
    by_slot = ggml_reshape_4d(ctx_, by_slot, hparams_.head_dim_k, 1, shape.n_head, rows.n_slots);
    const float scale = 1.0f / std::sqrt(static_cast<float>(hparams_.head_dim_k));
    ggml_tensor *o = ggml_flash_attn_ext(ctx_, by_slot, k, v, inputs.batch_mask, scale, 0.0f, 0.0f);
    ggml_prec_set_acc(o, GGML_PREC_F32);
    o = ggml_reshape_2d(ctx_, o, n_embd_o, rows.n_slots);
    return ggml_get_rows(ctx_, o, inputs.slot_of_row);  // [n_embd_o, n_batched]
}

ggml_tensor *BlockBuilder::attention(int il, ggml_tensor *q, const RowSet &rows,
                                     const RowInputs &inputs) const {
    std::vector<ggml_tensor *> parts;
    if (rows.n_batched > 0) {
        parts.push_back(attend_batched(il, q, rows, inputs));
    }
    for (size_t i = 0; i < rows.pieces.size(); ++i) {
        parts.push_back(attend_piece(il, q, rows.pieces[i], inputs.masks[i]));
    }
    return concat_rows(ctx_, std::move(parts));
}

ggml_tensor *BlockBuilder::attention_output(int il, ggml_tensor *a, const RowSet &rows,
                                            const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *o = attention(il, queries(il, a, inputs.positions), rows, inputs);
    return project(layer.attn_output, layer.attn_output_bias, o);
}

ggml_tensor *BlockBuilder::body(int il, ggml_tensor *h, ggml_tensor *a, const RowSet &rows,
                                const RowInputs &inputs) const {
    return finish(il, h, queries(il, a, inputs.positions), rows, inputs);
}

ggml_tensor *BlockBuilder::layer(int il, ggml_tensor *h, const RowSet &rows,
                                 const RowInputs &inputs, ggml_tensor *cells) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *a = attention_norm(il, h);
    if (takes_rows(layer.attn_q) && takes_rows(layer.attn_k) && takes_rows(layer.attn_v)) {
        const Projected projected = project_all(il, a, inputs.positions);
        store(il, projected.k, projected.v, cells);
        return finish(il, h, projected.q, rows, inputs);
    }
    store_kv(il, a, inputs.positions, cells);
    return body(il, h, a, rows, inputs);
}

// What comes behind the projections: q [head_dim_k, n_head, n_rows] -> h.
ggml_tensor *BlockBuilder::finish(int il, ggml_tensor *h, ggml_tensor *q, const RowSet &rows,
                                  const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *o = attention(il, q, rows, inputs);
    h = project_onto(layer.attn_output, layer.attn_output_bias, o, h);
    ggml_tensor *x = rms_norm(h, layer.ffn_norm);
    return layer.ffn_gate_inp != nullptr ? ggml_add(ctx_, experts(il, x), h)
                                         : feed_forward(il, x, h);
}

// residual + down(silu(gate x) * up x)
ggml_tensor *BlockBuilder::feed_forward(int il, ggml_tensor *x, ggml_tensor *residual) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *gated;  // [n_ff, n_rows]
    if (takes_rows(layer.ffn_up) && takes_rows(layer.ffn_gate)) {
        gated = cpu_rows_gated(ctx_, own_.level, {layer.ffn_gate, layer.ffn_gate_bias},
                               {layer.ffn_up, layer.ffn_up_bias}, rows_input(x));
    } else {
        ggml_tensor *up = project(layer.ffn_up, layer.ffn_up_bias, x);
        ggml_tensor *gate = project(layer.ffn_gate, layer.ffn_gate_bias, x);
        gated = ggml_swiglu_split(ctx_, gate, up);
    }
    return project_onto(layer.ffn_down, layer.ffn_down_bias, gated, residual);
}

// Mixture of experts as in Mixtral: softmax over all experts, the best n_expert_used, their
// probabilities rescaled to sum to one.
ggml_tensor *BlockBuilder::experts(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = x->ne[1];
    const int n_used = hparams_.n_expert_used;
    ggml_tensor *probs = ggml_soft_max(ctx_, ggml_mul_mat(ctx_, layer.ffn_gate_inp, x));
    ggml_tensor *chosen = ggml_argsort_top_k(ctx_, probs, n_used);  // I32 [n_used, n]
    ggml_tensor *weights = ggml_get_rows(
        ctx_, ggml_reshape_3d(ctx_, probs, 1, hparams_.n_expert, n), chosen);  // [1, n_used, n]
    weights = ggml_reshape_2d(ctx_, weights, n_used, n);
    // 6.1e-5, the smallest normal F16, keeps the division finite (as libllama does).
    ggml_tensor *sum = ggml_clamp(ctx_, ggml_sum_rows(ctx_, weights), 6.103515625e-5f, INFINITY);
    weights = ggml_reshape_3d(ctx_, ggml_div(ctx_, weights, sum), 1, n_used, n);
    ggml_build_forward_expand(gf_, weights);

    x = ggml_reshape_3d(ctx_, x, hparams_.n_embd, 1, n);
    ggml_tensor *up = product_id(layer.ffn_up_exps, x, chosen);  // [n_ff, n_used, n]
    ggml_tensor *gate = product_id(layer.ffn_gate_exps, x, chosen);
    ggml_tensor *y = product_id(layer.ffn_down_exps, ggml_swiglu_split(ctx_, gate, up), chosen);
    y = ggml_mul(ctx_, y, weights);  // [n_embd, n_used, n]
    ggml_tensor *total = nullptr;
    for (int i = 0; i < n_used; ++i) {
        ggml_tensor *part =
            ggml_view_2d(ctx_, y, hparams_.n_embd, n, y->nb[2], y->nb[1] * static_cast<size_t>(i));
        total = total == nullptr ? part : ggml_add(ctx_, total, part);
    }
    return n_used == 1 ? ggml_cont(ctx_, total) : total;
}

ggml_tensor *BlockBuilder::attention_probabilities(int il, ggml_tensor *a, const Piece &piece,
                                                   ggml_tensor *positions,
                                                   ggml_tensor *mask) const {
    ggml_tensor *q = queries(il, view_rows(ctx_, a, piece.first_row, piece.n_rows), positions);
    q = ggml_permute(ctx_, q, 0, 2, 1, 3);  // [head_dim_k, n_rows, n_head]
    ggml_tensor *k = cache_view(cache_->k(il), hparams_.head_dim_k, hparams_.layers[il].n_head_kv,
                                piece.slot, 1, piece.n_kv);
    const float scale = 1.0f / std::sqrt(static_cast<float>(hparams_.head_dim_k));
    ggml_tensor *scores = ggml_mul_mat(ctx_, k, q);  // [n_kv, n_rows, n_head]
    ggml_prec_set_acc(scores, GGML_PREC_F32);
    return ggml_soft_max_ext(ctx_, scores, mask, scale, 0.0f);
}

ggml_tensor *BlockBuilder::attention_received(int il, ggml_tensor *a, const Piece &piece,
                                              ggml_tensor *positions, ggml_tensor *mask) const {
    ggml_tensor *probs = attention_probabilities(il, a, piece, positions, mask);
    ggml_tensor *columns = ggml_cont(ctx_, ggml_permute(ctx_, probs, 1, 0, 2, 3));
    return ggml_sum_rows(ctx_, columns);  // [1, n_kv, n_head]
}

ggml_tensor *BlockBuilder::logits(ggml_tensor *h) const {
    return product(weights_.output, rms_norm(h, weights_.output_norm));
}

}  // namespace orthorank
