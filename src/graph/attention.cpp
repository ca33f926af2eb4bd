// Attention of a layer: queries and keys, over the cache, and what is looked at of it.
#include <cmath>

#include "base/error.h"
#include "graph/block.h"
#include "graph/cpu_attention.h"
#include "graph/cpu_row_attention.h"

namespace orthorank {

namespace {

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

}  // namespace

ggml_tensor *BlockBuilder::rope(int il, ggml_tensor *x, ggml_tensor *positions) const {
    const Rotation &rotation = spec(il).rotation;
    if (rotation.n_rot == 0) {
        return x;
    }
    // Without a cache the rows are all there is of the context.
    const int64_t n_ctx = cache_ != nullptr ? cache_->n_ctx() : x->ne[2];
    const bool is_long = n_ctx > rotation.n_ctx_orig;
    const LayerWeights &layer = weights_.layers[static_cast<size_t>(il)];
    ggml_tensor *by_context = is_long ? layer.rope_long : layer.rope_short;
    ggml_tensor *factors = layer.rope_freqs != nullptr ? layer.rope_freqs : by_context;
    const int mode = rotation.type == RopeType::neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    return ggml_rope_ext(ctx_, x, positions, factors, rotation.n_rot, mode, rotation.n_ctx_orig,
                         rotation.freq_base, rotation.freq_scale, rotation.ext_factor,
                         rotation.attn_factor, rotation.beta_fast, rotation.beta_slow);
}

// x [head_dim * n_heads, n] -> [head_dim, n_heads, n], normed head by head or all heads together.
ggml_tensor *BlockBuilder::heads(ggml_tensor *x, int n_heads, ggml_tensor *norm) const {
    const int64_t n = x->ne[1];
    const bool is_of_width = norm != nullptr && norm->ne[0] == x->ne[0];
    if (is_of_width) {
        x = rms_norm(x, norm);
    }
    const int64_t width = x->ne[0] / n_heads;
    x = ggml_is_contiguous(x) ? ggml_reshape_3d(ctx_, x, width, n_heads, n)
                              : ggml_view_3d(ctx_, x, width, n_heads, n,
                                             ggml_row_size(GGML_TYPE_F32, width), x->nb[1], 0);
    return norm != nullptr && !is_of_width ? rms_norm(x, norm) : x;
}

// Values [n_embd_v, n], normed head by head where the layer does so.
ggml_tensor *BlockBuilder::values(int il, ggml_tensor *v) const {
    if (!spec(il).normalises_values) {
        return v;
    }
    ggml_tensor *normed =
        ggml_rms_norm(ctx_, heads(v, spec(il).n_head_kv, nullptr), hparams_.rms_eps);
    return ggml_reshape_2d(ctx_, normed, hparams_.n_embd_v(il), v->ne[1]);
}

// Keys [head_dim, n_head_kv, n] and values [n_embd_v, n]. Without a projection of their own values
// are what keys are before norm and rotation.
BlockBuilder::KeysValues BlockBuilder::keys_values(int il, ggml_tensor *a,
                                                   ggml_tensor *positions) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *k = project(layer.attn_k, layer.attn_k_bias, a);
    ggml_tensor *v = layer.attn_v != nullptr ? project(layer.attn_v, layer.attn_v_bias, a) : k;
    return {rope(il, heads(k, spec(il).n_head_kv, layer.attn_k_norm), positions), values(il, v)};
}

// Queries [head_dim, n_head, n] by their positions.
ggml_tensor *BlockBuilder::turned(int il, ggml_tensor *q, ggml_tensor *positions,
                                  ggml_tensor *temperatures) const {
    q = rope(il, q, positions);
    return temperatures != nullptr ? ggml_mul(ctx_, q, temperatures) : q;
}

ggml_tensor *BlockBuilder::scaled(int il, ggml_tensor *q) const {
    const float scale = spec(il).query_scale;
    if (scale == 1.0f) {
        return q;
    }
    return ggml_scale(ctx_, ggml_is_contiguous(q) ? q : ggml_cont(ctx_, q), scale);
}

ggml_tensor *BlockBuilder::unscaled_queries(int il, ggml_tensor *a, ggml_tensor *positions,
                                            ggml_tensor *temperatures) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *q = project(layer.attn_q, layer.attn_q_bias, a);
    q = heads(q, spec(il).n_head, layer.attn_q_norm);
    return turned(il, q, positions, temperatures);  // [head_dim, n_head, n_rows]
}

ggml_tensor *BlockBuilder::queries(int il, ggml_tensor *a, ggml_tensor *positions,
                                   ggml_tensor *temperatures) const {
    return scaled(il, unscaled_queries(il, a, positions, temperatures));
}

// Q, K and V in one node, and where nothing but the rotation happens to queries and keys one
// rotation.
BlockBuilder::Projected BlockBuilder::project_all(int il, ggml_tensor *a,
                                                  const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    const LayerSpec &shape = spec(il);
    const int64_t n = a->ne[1];
    const int64_t n_q = hparams_.n_embd_q(il);
    const int64_t n_k = hparams_.n_embd_k(il);
    ggml_tensor *all = cpu_rows(ctx_, own_.level,
                                {{layer.attn_q, layer.attn_q_bias},
                                 {layer.attn_k, layer.attn_k_bias},
                                 {layer.attn_v, layer.attn_v_bias}},
                                rows_input(a));
    const auto columns = [&](int64_t first, int64_t n_columns) {
        return ggml_view_2d(ctx_, all, n_columns, n, all->nb[1],
                            ggml_row_size(GGML_TYPE_F32, first));
    };
    Projected projected;
    ggml_tensor *k;
    if (layer.attn_q_norm == nullptr && layer.attn_k_norm == nullptr &&
        inputs.temperatures == nullptr && shape.query_scale == 1.0f) {
        ggml_tensor *rotated =
            rope(il, heads(columns(0, n_q + n_k), shape.n_head + shape.n_head_kv, nullptr),
                 inputs.positions);
        const auto heads_of = [&](int first, int n_heads) {
            return ggml_view_3d(ctx_, rotated, shape.head_dim, n_heads, n, rotated->nb[1],
                                rotated->nb[2], rotated->nb[1] * static_cast<size_t>(first));
        };
        projected.q = heads_of(0, shape.n_head);
        k = heads_of(shape.n_head, shape.n_head_kv);
    } else {
        ggml_tensor *q = heads(columns(0, n_q), shape.n_head, layer.attn_q_norm);
        projected.q = scaled(il, turned(il, q, inputs.positions, inputs.temperatures));
        k = rope(il, heads(columns(n_q, n_k), shape.n_head_kv, layer.attn_k_norm),
                 inputs.positions);
    }
    projected.k = ggml_view_2d(ctx_, k, n_k, n, k->nb[2], 0);
    projected.v = values(il, columns(n_q + n_k, hparams_.n_embd_v(il)));
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

ggml_tensor *BlockBuilder::mask_of(int il, const RowInputs &inputs, size_t n_pieces,
                                   size_t piece) const {
    return inputs.masks[hparams_.window_of(il) * n_pieces + piece];
}

// ggml's own: q [head_dim, n_rows, n_head, n_slots] -> [head_dim, n_head, n_rows, n_slots]
ggml_tensor *BlockBuilder::flash_attention(int il, ggml_tensor *q, ggml_tensor *k, ggml_tensor *v,
                                           ggml_tensor *mask) const {
    ggml_tensor *o = ggml_flash_attn_ext(ctx_, q, k, v, mask, spec(il).attention_scale, 0.0f,
                                         spec(il).attention_cap);
    ggml_flash_attn_ext_add_sinks(o, weights_.layers[il].attn_sinks);
    ggml_prec_set_acc(o, GGML_PREC_F32);
    return o;
}

ggml_tensor *BlockBuilder::attend_piece(int il, ggml_tensor *q, const Piece &piece,
                                        ggml_tensor *mask) const {
    const LayerSpec &shape = spec(il);
    ggml_tensor *k =
        cache_view(cache_->k(il), shape.head_dim, shape.n_head_kv, piece.slot, 1, piece.n_kv);
    ggml_tensor *v =
        cache_view(cache_->v(il), shape.head_dim, shape.n_head_kv, piece.slot, 1, piece.n_kv);
    ggml_tensor *rows = q;
    if (piece.first_row != 0 || q->ne[2] != piece.n_rows) {
        rows = ggml_view_3d(ctx_, q, q->ne[0], q->ne[1], piece.n_rows, q->nb[1], q->nb[2],
                            q->nb[2] * static_cast<size_t>(piece.first_row));
    }
    ggml_tensor *sinks = weights_.layers[il].attn_sinks;
    const bool has_cap = shape.attention_cap != 0.0f;  // which our kernels do not compute
    if (!has_cap && fits_cpu_attention(rows, k, v)) {
        const int n_lanes = own_.level == CpuLevel::avx2 ? 8 : widest_lanes();
        return ggml_reshape_2d(
            ctx_, cpu_attention(ctx_, rows, k, v, mask, n_lanes, shape.attention_scale, sinks),
            hparams_.n_embd_q(il), piece.n_rows);
    }
    if (!has_cap && own_.level != CpuLevel::none && fits_cpu_row_attention(k, v) &&
        are_few_rows(rows, k, v)) {
        return cpu_row_attention(ctx_, own_.level, rows, k, v, mask, nullptr, shape.attention_scale,
                                 sinks);
    }
    rows = ggml_permute(ctx_, rows, 0, 2, 1, 3);  // [head_dim, n_rows, n_head]
    ggml_tensor *o = flash_attention(il, rows, k, v, mask);
    return ggml_reshape_2d(ctx_, o, hparams_.n_embd_q(il), piece.n_rows);
}

// One query per slot. Slots without a row get row 0 and a mask that hides every cell, which the
// kernel skips; what comes out for them is dropped.
ggml_tensor *BlockBuilder::attend_batched(int il, ggml_tensor *q, const RowSet &rows,
                                          const RowInputs &inputs) const {
    const LayerSpec &shape = spec(il);
    const int n_embd_q = hparams_.n_embd_q(il);
    const int n_embd_o = hparams_.n_embd_q(il);
    ggml_tensor *mask = inputs.batch_masks[hparams_.window_of(il)];
    ggml_tensor *k = cache_view(cache_->k(il), shape.head_dim, shape.n_head_kv, rows.first_slot,
                                rows.n_slots, rows.n_kv);
    ggml_tensor *v = cache_view(cache_->v(il), shape.head_dim, shape.n_head_kv, rows.first_slot,
                                rows.n_slots, rows.n_kv);
    if (shape.attention_cap == 0.0f && own_.level != CpuLevel::none &&
        fits_cpu_row_attention(k, v)) {
        ggml_tensor *batched =
            ggml_view_3d(ctx_, q, q->ne[0], q->ne[1], rows.n_batched, q->nb[1], q->nb[2], 0);
        return cpu_row_attention(ctx_, own_.level, batched, k, v, mask, inputs.slot_of_row,
                                 shape.attention_scale, weights_.layers[il].attn_sinks);
    }
    ggml_tensor *by_row = ggml_view_2d(ctx_, q, n_embd_q, rows.n_batched, q->nb[2], 0);
    ggml_tensor *by_slot = ggml_get_rows(ctx_, by_row, inputs.row_of_slot);  // [n_embd_q, n_slots]
    by_slot = ggml_reshape_4d(ctx_, by_slot, shape.head_dim, 1, shape.n_head, rows.n_slots);
    ggml_tensor *o = flash_attention(il, by_slot, k, v, mask);
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
        parts.push_back(
            attend_piece(il, q, rows.pieces[i], mask_of(il, inputs, rows.pieces.size(), i)));
    }
    return concat_rows(ctx_, std::move(parts));
}

ggml_tensor *BlockBuilder::attention_probabilities(int il, ggml_tensor *a, const RowSet &rows,
                                                   const RowInputs &inputs) const {
    CHECK(rows.pieces.size() == 1 && rows.n_batched == 0);
    const Piece &piece = rows.pieces.front();
    const LayerSpec &shape = spec(il);
    ggml_tensor *q = queries(il, a, inputs.positions, inputs.temperatures);
    q = ggml_permute(ctx_, q, 0, 2, 1, 3);  // [head_dim, n_rows, n_head]
    ggml_tensor *k =
        cache_view(cache_->k(il), shape.head_dim, shape.n_head_kv, piece.slot, 1, piece.n_kv);
    ggml_tensor *scores = ggml_mul_mat(ctx_, k, q);  // [n_kv, n_rows, n_head]
    ggml_prec_set_acc(scores, GGML_PREC_F32);
    float scale = shape.attention_scale;
    if (shape.attention_cap != 0.0f) {
        scores = capped(ggml_scale(ctx_, scores, scale), shape.attention_cap);
        scale = 1.0f;
    }
    ggml_tensor *probs = ggml_soft_max_ext(ctx_, scores, mask_of(il, inputs, 1, 0), scale, 0.0f);
    ggml_soft_max_add_sinks(probs, weights_.layers[il].attn_sinks);
    return probs;
}

ggml_tensor *BlockBuilder::attention_received(int il, ggml_tensor *a, const RowSet &rows,
                                              const RowInputs &inputs) const {
    ggml_tensor *probs = attention_probabilities(il, a, rows, inputs);
    ggml_tensor *columns = ggml_cont(ctx_, ggml_permute(ctx_, probs, 1, 0, 2, 3));
    return ggml_sum_rows(ctx_, columns);  // [1, n_kv, n_head]
}

}  // namespace orthorank
