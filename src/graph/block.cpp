#include "graph/block.h"

#include <cmath>

#include "base/error.h"

namespace orthorank {

size_t max_nodes(int n_layers, size_t n_pieces, int n_expert_used) {
    const size_t n_of_layer = 144 + 10 * n_pieces + 2 * static_cast<size_t>(n_expert_used);
    return 128 + 32 * n_pieces + static_cast<size_t>(n_layers) * n_of_layer;
}

RowInputs BlockBuilder::make_inputs(const RowSet &rows) const {
    const auto input = [](ggml_tensor *tensor) {
        ggml_set_input(tensor);
        return tensor;
    };
    RowInputs inputs;
    inputs.positions = input(ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_rows));
    if (hparams_.n_embd_per_layer > 0) {
        inputs.tokens = input(ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_rows));
        inputs.embedded = embed(inputs.tokens);
    }
    if (hparams_.temperature != 0.0f) {
        inputs.temperatures = input(ggml_new_tensor_3d(ctx_, GGML_TYPE_F32, 1, 1, rows.n_rows));
    }
    if (rows.n_batched > 0) {
        for (size_t i = 0; i < hparams_.windows.size(); ++i) {
            inputs.batch_masks.push_back(
                input(ggml_new_tensor_4d(ctx_, GGML_TYPE_F16, rows.n_kv, 1, 1, rows.n_slots)));
        }
        inputs.row_of_slot = input(ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_slots));
        inputs.slot_of_row = input(ggml_new_tensor_1d(ctx_, GGML_TYPE_I32, rows.n_batched));
    }
    for (size_t i = 0; i < hparams_.windows.size(); ++i) {
        for (const Piece &piece : rows.pieces) {
            inputs.masks.push_back(
                input(ggml_new_tensor_2d(ctx_, GGML_TYPE_F16, piece.n_kv, piece.n_rows)));
        }
    }
    return inputs;
}

ggml_tensor *BlockBuilder::rms_norm(ggml_tensor *x, ggml_tensor *weight) const {
    return ggml_mul(ctx_, ggml_rms_norm(ctx_, x, hparams_.rms_eps), weight);
}

bool BlockBuilder::takes_rows(const ggml_tensor *weight) const {
    return own_.level != CpuLevel::none && own_.for_few_rows && fits_cpu_rows(weight);
}

bool BlockBuilder::takes_panels() const {
    return own_.level != CpuLevel::none && !own_.for_few_rows;
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
    return takes_panels() && fits_cpu_matmul(weight) ? cpu_matmul_.multiply(ctx_, weight, x)
                                                     : ggml_mul_mat(ctx_, weight, x);
}

// weights [d, m, n_expert], x [d, 1 or n_used, n], ids [n_used, n] -> [m, n_used, n]
ggml_tensor *BlockBuilder::product_id(ggml_tensor *weights, ggml_tensor *x,
                                      ggml_tensor *ids) const {
    return takes_panels() && fits_cpu_matmul(weights)
               ? cpu_matmul_.multiply_id(ctx_, weights, x, ids)
               : ggml_mul_mat_id(ctx_, weights, x, ids);
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

// What a half of layer il adds to the residual stream: y, normed and scaled where the layer does
// so.
ggml_tensor *BlockBuilder::add_half(int il, ggml_tensor *y, ggml_tensor *post_norm,
                                    ggml_tensor *residual) const {
    if (post_norm != nullptr) {
        y = rms_norm(y, post_norm);
    }
    if (spec(il).residual_scale != 1.0f) {
        y = ggml_scale(ctx_, y, spec(il).residual_scale);
    }
    return ggml_add(ctx_, y, residual);
}

// The same with y = weight x + bias.
ggml_tensor *BlockBuilder::onto(int il, ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x,
                                ggml_tensor *post_norm, ggml_tensor *residual) const {
    return post_norm == nullptr && spec(il).residual_scale == 1.0f
               ? project_onto(weight, bias, x, residual)
               : add_half(il, project(weight, bias, x), post_norm, residual);
}

// c tanh(x / c)
ggml_tensor *BlockBuilder::capped(ggml_tensor *x, float cap) const {
    return ggml_scale(ctx_, ggml_tanh(ctx_, ggml_scale(ctx_, x, 1.0f / cap)), cap);
}

ggml_tensor *BlockBuilder::embed(ggml_tensor *tokens) const {
    ggml_tensor *h = ggml_get_rows(ctx_, weights_.token_embd, tokens);
    return hparams_.embedding_scale == 1.0f ? h : ggml_scale(ctx_, h, hparams_.embedding_scale);
}

ggml_tensor *BlockBuilder::attention_norm(int il, ggml_tensor *h) const {
    ggml_tensor *norm = weights_.layers[il].attn_norm;
    return norm != nullptr ? rms_norm(h, norm) : h;
}

void BlockBuilder::store_kv(int il, ggml_tensor *a, ggml_tensor *positions,
                            ggml_tensor *cells) const {
    if (!hparams_.has_keys(il)) {
        return;
    }
    const KeysValues kv = keys_values(il, a, positions);
    store(il, ggml_reshape_2d(ctx_, kv.k, hparams_.n_embd_k(il), a->ne[1]), kv.v, cells);
}

void BlockBuilder::store(int il, ggml_tensor *k, ggml_tensor *v, ggml_tensor *cells) const {
    ggml_build_forward_expand(gf_, ggml_set_rows(ctx_, cache_->k(il), k, cells));
    ggml_build_forward_expand(gf_, ggml_set_rows(ctx_, cache_->v(il), v, cells));
    if (!cache_->is_on_host(il)) {
        add_stored(k, cache_->k(il)->type);
        add_stored(v, cache_->v(il)->type);
    }
}

// A NaN or an infinity among numbers makes their sum one. At once, on this layer's device.
void BlockBuilder::add_stored(ggml_tensor *x, ggml_type type) const {
    if (type != GGML_TYPE_F32) {
        x = ggml_cast(ctx_, ggml_cast(ctx_, x, type), GGML_TYPE_F32);
    }
    ggml_tensor *sum = ggml_sum(ctx_, x);
    stored_sum_ = stored_sum_ != nullptr ? ggml_add(ctx_, stored_sum_, sum) : sum;
    ggml_build_forward_expand(gf_, stored_sum_);
}

ggml_tensor *BlockBuilder::attention_output(int il, ggml_tensor *a, const RowSet &rows,
                                            const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *q = queries(il, a, inputs.positions, inputs.temperatures);
    ggml_tensor *o =
        project(layer.attn_output, layer.attn_output_bias, attention(il, q, rows, inputs));
    return layer.attn_post_norm != nullptr ? rms_norm(o, layer.attn_post_norm) : o;
}

ggml_tensor *BlockBuilder::body(int il, ggml_tensor *h, ggml_tensor *a, const RowSet &rows,
                                const RowInputs &inputs) const {
    return finish(il, h, queries(il, a, inputs.positions, inputs.temperatures), rows, inputs);
}

ggml_tensor *BlockBuilder::layer(int il, ggml_tensor *h, const RowSet &rows,
                                 const RowInputs &inputs, ggml_tensor *cells) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *a = attention_norm(il, h);
    const bool has_all = layer.attn_k != nullptr && layer.attn_v != nullptr;
    if (has_all && takes_rows(layer.attn_q) && takes_rows(layer.attn_k) &&
        takes_rows(layer.attn_v)) {
        const Projected projected = project_all(il, a, inputs);
        store(il, projected.k, projected.v, cells);
        return finish(il, h, projected.q, rows, inputs);
    }
    store_kv(il, a, inputs.positions, cells);
    return body(il, h, a, rows, inputs);
}

// What comes behind the projections: q [head_dim, n_head, n_rows] -> h.
ggml_tensor *BlockBuilder::finish(int il, ggml_tensor *h, ggml_tensor *q, const RowSet &rows,
                                  const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *o = attention(il, q, rows, inputs);
    h = onto(il, layer.attn_output, layer.attn_output_bias, o, layer.attn_post_norm, h);
    return layer_scaled(il, add_layer_embedding(il, feed_forward(il, h), inputs));
}

// The layer's own embedding of these rows' tokens, [n_embd_per_layer, n_rows]: its part of the
// table, and what it makes of the model's embedding. In libllama's order of operations, which makes
// those of all layers at once: here rows that a layer does not compute cost nothing in it.
ggml_tensor *BlockBuilder::layer_embedding(int il, const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = hparams_.n_embd_per_layer;
    ggml_tensor *table = weights_.ple_token_embd;
    ggml_tensor *part = ggml_view_2d(ctx_, table, n, table->ne[1], table->nb[1],
                                     ggml_row_size(table->type, n * il));
    ggml_tensor *of_tokens = ggml_scale(ctx_, ggml_get_rows(ctx_, part, inputs.tokens),
                                        std::sqrt(static_cast<float>(n)));
    ggml_tensor *of_model = ggml_scale(ctx_, product(layer.ple_model_proj, inputs.embedded),
                                       1.0f / std::sqrt(static_cast<float>(hparams_.n_embd)));
    return ggml_scale(ctx_, ggml_add(ctx_, rms_norm(of_model, layer.ple_norm), of_tokens),
                      1.0f / std::sqrt(2.0f));
}

ggml_tensor *BlockBuilder::add_layer_embedding(int il, ggml_tensor *h,
                                               const RowInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    if (layer.ple_gate == nullptr) {
        return h;
    }
    ggml_tensor *gate = ggml_gelu(ctx_, product(layer.ple_gate, h));
    ggml_tensor *y = ggml_mul(ctx_, gate, layer_embedding(il, inputs));
    return ggml_add(ctx_, h, rms_norm(product(layer.ple_proj, y), layer.ple_post_norm));
}

ggml_tensor *BlockBuilder::layer_scaled(int il, ggml_tensor *h) const {
    ggml_tensor *scale = weights_.layers[il].layer_scale;
    return scale != nullptr ? ggml_mul(ctx_, h, scale) : h;
}

ggml_tensor *BlockBuilder::logits(ggml_tensor *h) const {
    ggml_tensor *y = product(weights_.output, rms_norm(h, weights_.output_norm));
    if (hparams_.logit_scale != 1.0f) {
        y = ggml_scale(ctx_, y, hparams_.logit_scale);
    }
    return hparams_.logit_cap == 0.0f ? y : capped(y, hparams_.logit_cap);
}

}  // namespace orthorank
