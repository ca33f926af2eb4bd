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
    ggml_tensor *x = ffn_input(il, h);
    if (layer.ffn_gate_inp != nullptr) {
        ggml_tensor *y = experts(il, x);
        if (layer.ffn_up_shexp != nullptr) {
            y = ggml_add(ctx_, y, shared_expert(il, x));
        }
        return add_half(il, y, layer.ffn_post_norm, h);
    }
    const bool is_silu = spec(il).gate == Gate::silu;
    const bool has_bias = layer.ffn_gate_bias != nullptr || layer.ffn_up_bias != nullptr;
    ggml_tensor *y;  // [n_ff, n_rows]
    if (is_silu && takes_rows(layer.ffn_up) && takes_rows(layer.ffn_gate)) {
        y = cpu_rows_gated(ctx_, own_.level, {layer.ffn_gate, layer.ffn_gate_bias},
                           {layer.ffn_up, layer.ffn_up_bias}, rows_input(x));
    } else if (is_silu && !has_bias && takes_panels() &&
               cpu_matmul_.fits_gated(layer.ffn_gate, layer.ffn_up)) {
        y = cpu_matmul_.multiply_gated(ctx_, layer.ffn_gate, layer.ffn_up, x);
    } else {
        ggml_tensor *up = project(layer.ffn_up, layer.ffn_up_bias, x);
        ggml_tensor *gate = project(layer.ffn_gate, layer.ffn_gate_bias, x);
        y = gated(il, gate, up);
    }
    return onto(il, layer.ffn_down, layer.ffn_down_bias, y, layer.ffn_post_norm, h);
}

// x [n_embd, n] -> [n_expert, n]
ggml_tensor *BlockBuilder::router(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
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

// Mixture of experts: softmax over all, as in Mixtral, the best n_expert_used, their shares.
ggml_tensor *BlockBuilder::experts(int il, ggml_tensor *x) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = x->ne[1];
    const int n_used = hparams_.n_expert_used;
    const ExpertShares shares = spec(il).expert_shares;
    ggml_tensor *scores = router(il, x);
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
    ggml_tensor *up =  // [n_ff, n_used, n]
        project_id(layer.ffn_up_exps, layer.ffn_up_exps_bias, x, chosen);
    ggml_tensor *gate = project_id(layer.ffn_gate_exps, layer.ffn_gate_exps_bias, x, chosen);
    ggml_tensor *y =
        project_id(layer.ffn_down_exps, layer.ffn_down_exps_bias, gated(il, gate, up), chosen);
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
