// The feed-forward half of a layer: a gated network, or a mixture of experts.
#include <cmath>

#include "graph/block.h"

namespace orthorank {

ggml_tensor *BlockBuilder::ffn_input(int il, ggml_tensor *h) const {
    ggml_tensor *norm = weights_.layers[il].ffn_norm;
    return norm != nullptr ? rms_norm(h, norm) : h;
}

// act(gate) * up
ggml_tensor *BlockBuilder::gated(int il, ggml_tensor *gate, ggml_tensor *up) const {
    switch (spec(il).gate) {
        case Gate::gelu:
            return ggml_geglu_split(ctx_, gate, up);
        case Gate::clamped:
            return ggml_swiglu_oai(ctx_, gate, up, k_gate_alpha, k_gate_limit);
        default:
            return ggml_swiglu_split(ctx_, gate, up);
    }
}

// h [n_embd, n_rows] -> h and what this half adds to it.
ggml_tensor *BlockBuilder::feed_forward(int il, ggml_tensor *h) const {
    const LayerWeights &layer = weights_.layers[il];
    if (layer.ffn_gate_inp != nullptr) {
        return add_half(il, mixture(il, h), layer.ffn_post_norm, h);
    }
    ggml_tensor *y = gated_network(il, ffn_input(il, h));
    return onto(il, layer.ffn_down, layer.ffn_down_bias, y, layer.ffn_post_norm, h);
}

// act(gate x) * (up x): x [n_embd, n] -> [n_ff, n]
ggml_tensor *BlockBuilder::gated_network(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    const bool is_silu = spec(il).gate == Gate::silu;
    const bool has_bias = layer.ffn_gate_bias != nullptr || layer.ffn_up_bias != nullptr;
    if (is_silu && takes_rows(layer.ffn_up) && takes_rows(layer.ffn_gate)) {
        return cpu_rows_gated(ctx_, own_.level, {layer.ffn_gate, layer.ffn_gate_bias},
                              {layer.ffn_up, layer.ffn_up_bias}, rows_input(x));
    }
    if (is_silu && !has_bias && takes_panels() &&
        cpu_matmul_.fits_gated(layer.ffn_gate, layer.ffn_up)) {
        return cpu_matmul_.multiply_gated(ctx_, layer.ffn_gate, layer.ffn_up, x);
    }
    ggml_tensor *up = project(layer.ffn_up, layer.ffn_up_bias, x);
    return gated(il, project(layer.ffn_gate, layer.ffn_gate_bias, x), up);
}

// What a mixture adds, and beside it the expert that every row uses or a whole network.
ggml_tensor *BlockBuilder::mixture(int il, ggml_tensor *h) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *x = ffn_input(il, h);
    if (layer.ffn_pre_norm_2 == nullptr) {
        ggml_tensor *y = experts(il, x, router(il, h, x));
        return layer.ffn_up_shexp != nullptr ? ggml_add(ctx_, y, shared_expert(il, x)) : y;
    }
    ggml_tensor *dense = project(layer.ffn_down, layer.ffn_down_bias, gated_network(il, x));
    ggml_tensor *y = experts(il, rms_norm(h, layer.ffn_pre_norm_2), router(il, h, x));
    return ggml_add(ctx_, rms_norm(dense, layer.ffn_post_norm_1),
                    rms_norm(y, layer.ffn_post_norm_2));
}

// h, or x where the layer's router has no norm of its own, [n_embd, n] -> [n_expert, n]
ggml_tensor *BlockBuilder::router(int il, ggml_tensor *h, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    if (layer.ffn_gate_inp_scale != nullptr) {
        const float scale = 1.0f / std::sqrt(static_cast<float>(hparams_.n_embd));
        x = ggml_mul(ctx_, ggml_scale(ctx_, ggml_rms_norm(ctx_, h, hparams_.rms_eps), scale),
                     layer.ffn_gate_inp_scale);
    }
    ggml_tensor *logits = ggml_mul_mat(ctx_, layer.ffn_gate_inp, x);
    return layer.ffn_gate_inp_bias != nullptr ? ggml_add(ctx_, logits, layer.ffn_gate_inp_bias)
                                              : logits;
}

// weights [d, m, n_expert], bias [m, n_expert] or null, x [d, 1 or n_used, n], ids [n_used, n] ->
// [m, n_used, n]
ggml_tensor *BlockBuilder::project_id(ggml_tensor *weights, ggml_tensor *bias, ggml_tensor *x,
                                      ggml_tensor *ids) const {
    ggml_tensor *y = product_id(weights, x, ids);
    return bias != nullptr ? ggml_add_id(ctx_, y, bias, ids) : y;
}

// act(gate x) * (up x) of the chosen experts: x [n_embd, 1, n] -> [n_ff, n_used, n]
ggml_tensor *BlockBuilder::gated_experts(int il, ggml_tensor *x, ggml_tensor *chosen) const {
    const LayerWeights &layer = weights_.layers[il];
    if (layer.ffn_gate_up_exps == nullptr) {
        ggml_tensor *up = project_id(layer.ffn_up_exps, layer.ffn_up_exps_bias, x, chosen);
        ggml_tensor *gate = project_id(layer.ffn_gate_exps, layer.ffn_gate_exps_bias, x, chosen);
        return gated(il, gate, up);
    }
    ggml_tensor *both = product_id(layer.ffn_gate_up_exps, x, chosen);  // [2 n_ff, n_used, n]
    const auto half = [&](int64_t first) {
        return ggml_view_3d(ctx_, both, both->ne[0] / 2, both->ne[1], both->ne[2], both->nb[1],
                            both->nb[2], static_cast<size_t>(first) * both->nb[0]);
    };
    return gated(il, half(0), half(both->ne[0] / 2));
}

// Mixture of experts: softmax over all, as in Mixtral, the best n_expert_used, their shares.
ggml_tensor *BlockBuilder::experts(int il, ggml_tensor *x, ggml_tensor *scores) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = x->ne[1];
    const int n_used = hparams_.n_expert_used;
    const ExpertShares shares = spec(il).expert_shares;
    if (shares != ExpertShares::of_used) {
        scores = ggml_soft_max(ctx_, scores);
    }
    ggml_tensor *chosen = ggml_argsort_top_k(ctx_, scores, n_used);  // I32 [n_used, n]
    ggml_tensor *weights = ggml_get_rows(
        ctx_, ggml_reshape_3d(ctx_, scores, 1, hparams_.n_expert, n), chosen);  // [1, n_used, n]
    if (shares == ExpertShares::of_used) {
        weights = ggml_soft_max(ctx_, ggml_reshape_2d(ctx_, weights, n_used, n));
        weights = ggml_reshape_3d(ctx_, weights, 1, n_used, n);
    } else if (shares == ExpertShares::rescaled) {
        weights = ggml_reshape_2d(ctx_, weights, n_used, n);
        // 6.1e-5, the smallest normal F16, keeps the division finite (as libllama does).
        ggml_tensor *sum =
            ggml_clamp(ctx_, ggml_sum_rows(ctx_, weights), 6.103515625e-5f, INFINITY);
        weights = ggml_reshape_3d(ctx_, ggml_div(ctx_, weights, sum), 1, n_used, n);
    }
    ggml_build_forward_expand(gf_, weights);

    x = ggml_reshape_3d(ctx_, x, hparams_.n_embd, 1, n);
    ggml_tensor *y = project_id(layer.ffn_down_exps, layer.ffn_down_exps_bias,
                                gated_experts(il, x, chosen), chosen);
    if (layer.ffn_down_exps_scale != nullptr) {
        ggml_tensor *scales =
            ggml_reshape_3d(ctx_, layer.ffn_down_exps_scale, 1, hparams_.n_expert, 1);
        scales = ggml_repeat_4d(ctx_, scales, 1, hparams_.n_expert, n, 1);
        y = ggml_mul(ctx_, y, ggml_get_rows(ctx_, scales, chosen));
    }
    y = ggml_mul(ctx_, y, weights);  // [n_embd, n_used, n]
    ggml_tensor *total = nullptr;
    for (int i = 0; i < n_used; ++i) {
        ggml_tensor *part =
            ggml_view_2d(ctx_, y, hparams_.n_embd, n, y->nb[2], y->nb[1] * static_cast<size_t>(i));
        total = total == nullptr ? part : ggml_add(ctx_, total, part);
    }
    return n_used == 1 ? ggml_cont(ctx_, total) : total;
}

// The expert that every row uses, and where it has a gate the row's share of it.
ggml_tensor *BlockBuilder::shared_expert(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *up = product(layer.ffn_up_shexp, x);
    ggml_tensor *y = product(layer.ffn_down_shexp, gated(il, product(layer.ffn_gate_shexp, x), up));
    if (layer.ffn_gate_inp_shexp == nullptr) {
        return y;
    }
    ggml_tensor *share = ggml_mul_mat(ctx_, layer.ffn_gate_inp_shexp, x);  // [1, n]
    return ggml_mul(ctx_, y, ggml_sigmoid(ctx_, share));
}

}  // namespace orthorank
