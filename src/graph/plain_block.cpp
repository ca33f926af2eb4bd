// The block without a cache, made of operations that ggml can differentiate.
#include <cmath>

#include "base/error.h"
#include "graph/block.h"

namespace orthorank {

// By exponentials that neither overflow nor, differentiated, divide infinities: exp(-softplus(-x)).
ggml_tensor *BlockBuilder::plain_sigmoid(ggml_tensor *x) const {
    ggml_tensor *softplus = ggml_softplus(ctx_, ggml_scale(ctx_, x, -1.0f));
    return ggml_exp(ctx_, ggml_scale(ctx_, softplus, -1.0f));
}

// c tanh(x / c) + c: softmax does not see the constant, tanh(y) = 2 sigmoid(2 y) - 1.
ggml_tensor *BlockBuilder::plain_capped(ggml_tensor *x, float cap) const {
    return ggml_scale(ctx_, plain_sigmoid(ggml_scale(ctx_, x, 2.0f / cap)), 2.0f * cap);
}

// min(x, limit) = limit - max(limit - x, 0)
ggml_tensor *BlockBuilder::at_most(ggml_tensor *x, float limit) const {
    ggml_tensor *below = ggml_relu(ctx_, ggml_scale_bias(ctx_, x, -1.0f, limit));
    return ggml_scale_bias(ctx_, below, -1.0f, limit);
}

// act(gate) * up, where GELU's tanh form is x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).
ggml_tensor *BlockBuilder::plain_gated(int il, ggml_tensor *gate, ggml_tensor *up) const {
    if (spec(il).gate == Gate::silu) {
        return ggml_swiglu_split(ctx_, gate, up);
    }
    if (spec(il).gate == Gate::clamped) {
        gate = at_most(gate, k_gate_limit);
        ggml_tensor *minus_up =
            at_most(ggml_scale(ctx_, at_most(up, k_gate_limit), -1.0f), k_gate_limit);
        ggml_tensor *factor = ggml_scale_bias(ctx_, minus_up, -1.0f, 1.0f);
        ggml_tensor *share = plain_sigmoid(ggml_scale(ctx_, gate, k_gate_alpha));
        return ggml_mul(ctx_, ggml_mul(ctx_, gate, share), factor);
    }
    constexpr float k_two_roots = 1.5957691216057308f;
    ggml_tensor *cube = ggml_mul(ctx_, ggml_sqr(ctx_, gate), gate);
    ggml_tensor *inner = ggml_add(ctx_, ggml_scale(ctx_, gate, k_two_roots),
                                  ggml_scale(ctx_, cube, k_two_roots * 0.044715f));
    return ggml_mul(ctx_, ggml_mul(ctx_, gate, plain_sigmoid(inner)), up);
}

// softmax(scale scores + mask), [n, n, n_head]. A sink logit is one more column, which has no key:
// ggml's softmax with sinks has no backward pass.
ggml_tensor *BlockBuilder::plain_softmax(int il, ggml_tensor *scores, ggml_tensor *mask,
                                         float scale) const {
    ggml_tensor *sinks = weights_.layers[il].attn_sinks;
    if (sinks == nullptr) {
        return ggml_soft_max_ext(ctx_, scores, mask, scale, 0.0f);
    }
    const int64_t n = scores->ne[0], n_rows = scores->ne[1], n_head = scores->ne[2];
    ggml_tensor *all =
        ggml_repeat_4d(ctx_, ggml_reshape_3d(ctx_, sinks, 1, 1, n_head), n + 1, n_rows, n_head, 1);
    ggml_tensor *masked = ggml_add(ctx_, ggml_scale(ctx_, scores, scale), mask);
    all = ggml_set(ctx_, all, masked, all->nb[1], all->nb[2], all->nb[3], 0);
    ggml_tensor *probs = ggml_soft_max(ctx_, all);
    return ggml_cont(ctx_,
                     ggml_view_3d(ctx_, probs, n, n_rows, n_head, probs->nb[1], probs->nb[2], 0));
}

ggml_tensor *BlockBuilder::attend_plain(int il, ggml_tensor *a, const PlainInputs &inputs) const {
    const LayerSpec &shape = spec(il);
    const int64_t n = a->ne[1];
    ggml_tensor *q = unscaled_queries(il, a, inputs.positions, inputs.temperatures);
    q = ggml_cont(ctx_, ggml_permute(ctx_, q, 0, 2, 1, 3));  // [head_dim, n, n_head]
    const KeysValues kv = keys_values(il, a, inputs.positions);
    ggml_tensor *k =  // [head_dim, n, n_head_kv]
        ggml_cont(ctx_, ggml_permute(ctx_, kv.k, 0, 2, 1, 3));
    ggml_tensor *v = ggml_reshape_3d(ctx_, kv.v, shape.head_dim, shape.n_head_kv, n);
    v = ggml_cont(ctx_, ggml_permute(ctx_, v, 1, 2, 0, 3));  // [n, head_dim_v, n_head_kv]
    ggml_tensor *scores = ggml_mul_mat(ctx_, k, q);
    // Scaling the queries themselves would meet a gradient that is not contiguous.
    float scale = shape.attention_scale * shape.query_scale;
    if (shape.attention_cap != 0.0f) {
        scores = plain_capped(ggml_scale(ctx_, scores, scale), shape.attention_cap);
        scale = 1.0f;
    }
    ggml_tensor *probs = plain_softmax(il, scores, inputs.mask, scale);
    ggml_tensor *o = ggml_mul_mat(ctx_, v, probs);  // [head_dim, n, n_head]
    o = ggml_cont(ctx_, ggml_permute(ctx_, o, 0, 2, 1, 3));
    return ggml_reshape_2d(ctx_, o, hparams_.n_embd_q(il), n);
}

// Every expert for every row, weighted with 0 where it is not used. A softmax over the used ones
// alone is that over all, rescaled.
ggml_tensor *BlockBuilder::all_experts(int il, ggml_tensor *x, ggml_tensor *probs,
                                       ggml_tensor *expert_mask) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = x->ne[1];
    ggml_tensor *weights = ggml_mul(ctx_, probs, expert_mask);  // [n_expert, n]
    if (spec(il).expert_shares != ExpertShares::probabilities) {
        weights = ggml_div(ctx_, weights, ggml_repeat(ctx_, ggml_sum_rows(ctx_, weights), weights));
    }
    // x by expert e: matrices [d, m, n_expert], biases [m, n_expert] or null.
    const auto project = [&](ggml_tensor *all, ggml_tensor *biases, int e, ggml_tensor *rows) {
        const auto at = static_cast<size_t>(e);
        ggml_tensor *y = ggml_mul_mat(
            ctx_, ggml_view_2d(ctx_, all, all->ne[0], all->ne[1], all->nb[1], all->nb[2] * at),
            rows);
        return biases == nullptr
                   ? y
                   : ggml_add(ctx_, y,
                              ggml_view_1d(ctx_, biases, biases->ne[0], biases->nb[1] * at));
    };
    const auto gated_by = [&](int e) {
        if (layer.ffn_gate_up_exps == nullptr) {
            ggml_tensor *up = project(layer.ffn_up_exps, layer.ffn_up_exps_bias, e, x);
            return plain_gated(il, project(layer.ffn_gate_exps, layer.ffn_gate_exps_bias, e, x),
                               up);
        }
        ggml_tensor *both = project(layer.ffn_gate_up_exps, nullptr, e, x);  // [2 n_ff, n]
        const int64_t n_ff = both->ne[0] / 2;
        const auto half = [&](int64_t first) {
            return ggml_cont(ctx_, ggml_view_2d(ctx_, both, n_ff, n, both->nb[1],
                                                static_cast<size_t>(first) * both->nb[0]));
        };
        return plain_gated(il, half(0), half(n_ff));
    };
    ggml_tensor *total = nullptr;
    for (int e = 0; e < hparams_.n_expert; ++e) {
        ggml_tensor *y = project(layer.ffn_down_exps, layer.ffn_down_exps_bias, e, gated_by(e));
        if (layer.ffn_down_exps_scale != nullptr) {
            y = ggml_mul(ctx_, y,
                         ggml_view_1d(ctx_, layer.ffn_down_exps_scale, 1,
                                      sizeof(float) * static_cast<size_t>(e)));
        }
        ggml_tensor *weight = ggml_view_2d(ctx_, weights, 1, n, weights->nb[1],
                                           weights->nb[0] * static_cast<size_t>(e));
        y = ggml_mul(ctx_, y, ggml_cont(ctx_, weight));  // [n_embd, n]
        total = total == nullptr ? y : ggml_add(ctx_, total, y);
    }
    return total;
}

ggml_tensor *BlockBuilder::plain_shared_expert(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *up = ggml_mul_mat(ctx_, layer.ffn_up_shexp, x);
    ggml_tensor *gate = ggml_mul_mat(ctx_, layer.ffn_gate_shexp, x);
    ggml_tensor *y = ggml_mul_mat(ctx_, layer.ffn_down_shexp, plain_gated(il, gate, up));
    if (layer.ffn_gate_inp_shexp == nullptr) {
        return y;
    }
    ggml_tensor *share = ggml_mul_mat(ctx_, layer.ffn_gate_inp_shexp, x);  // [1, n]
    return ggml_mul(ctx_, y, ggml_repeat(ctx_, plain_sigmoid(share), y));
}

ggml_tensor *BlockBuilder::plain_ffn(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *up = project(layer.ffn_up, layer.ffn_up_bias, x);
    ggml_tensor *gate = project(layer.ffn_gate, layer.ffn_gate_bias, x);
    return project(layer.ffn_down, layer.ffn_down_bias, plain_gated(il, gate, up));
}

ggml_tensor *BlockBuilder::whole_block(int il, ggml_tensor *h, const PlainInputs &inputs) const {
    const LayerWeights &layer = weights_.layers[il];
    CHECK(hparams_.has_keys(il) && layer.ple_gate == nullptr);
    ggml_tensor *o = attend_plain(il, attention_norm(il, h), inputs);
    h = onto(il, layer.attn_output, layer.attn_output_bias, o, layer.attn_post_norm, h);
    if (layer.ffn_gate_inp == nullptr) {
        ggml_tensor *y = plain_ffn(il, ffn_input(il, h));
        return layer_scaled(il, add_half(il, y, layer.ffn_post_norm, h));
    }
    ggml_tensor *probs = ggml_soft_max(ctx_, router(il, h, ffn_input(il, h)));
    if (inputs.expert_mask == nullptr) {
        return probs;
    }
    ggml_tensor *y = plain_mixture(il, h, probs, inputs.expert_mask);
    return layer_scaled(il, add_half(il, y, layer.ffn_post_norm, h));
}

ggml_tensor *BlockBuilder::plain_mixture(int il, ggml_tensor *h, ggml_tensor *probs,
                                         ggml_tensor *expert_mask) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *x = ffn_input(il, h);
    if (layer.ffn_pre_norm_2 == nullptr) {
        ggml_tensor *y = all_experts(il, x, probs, expert_mask);
        return layer.ffn_up_shexp != nullptr ? ggml_add(ctx_, y, plain_shared_expert(il, x)) : y;
    }
    ggml_tensor *y = all_experts(il, rms_norm(h, layer.ffn_pre_norm_2), probs, expert_mask);
    return ggml_add(ctx_, rms_norm(plain_ffn(il, x), layer.ffn_post_norm_1),
                    rms_norm(y, layer.ffn_post_norm_2));
}

ggml_tensor *BlockBuilder::plain_logits(ggml_tensor *h) const {
    ggml_tensor *y = ggml_mul_mat(ctx_, weights_.output, rms_norm(h, weights_.output_norm));
    if (hparams_.logit_scale != 1.0f) {
        y = ggml_scale(ctx_, y, hparams_.logit_scale);
    }
    return hparams_.logit_cap == 0.0f ? y : plain_capped(y, hparams_.logit_cap);
}

}  // namespace orthorank
