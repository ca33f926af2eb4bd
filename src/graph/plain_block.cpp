// The block without a cache, made of operations that ggml can differentiate.
#include <cmath>

#include "graph/block.h"

namespace orthorank {

ggml_tensor *BlockBuilder::attend_plain(int il, ggml_tensor *a, ggml_tensor *positions,
                                        ggml_tensor *mask) const {
    const LayerWeights &layer = weights_.layers[il];
    const LayerShape &shape = hparams_.layers[il];
    const int64_t n = a->ne[1];
    ggml_tensor *q = queries(il, a, positions);
    q = ggml_cont(ctx_, ggml_permute(ctx_, q, 0, 2, 1, 3));  // [head_dim_k, n, n_head]
    ggml_tensor *k = keys(il, a, positions);
    k = ggml_cont(ctx_, ggml_permute(ctx_, k, 0, 2, 1, 3));  // [head_dim_k, n, n_head_kv]
    ggml_tensor *v = project(layer.attn_v, layer.attn_v_bias, a);
    v = ggml_reshape_3d(ctx_, v, hparams_.head_dim_v, shape.n_head_kv, n);
    v = ggml_cont(ctx_, ggml_permute(ctx_, v, 1, 2, 0, 3));  // [n, head_dim_v, n_head_kv]
    const float scale = 1.0f / std::sqrt(static_cast<float>(hparams_.head_dim_k));
    ggml_tensor *probs =  // [n, n, n_head]
        ggml_soft_max_ext(ctx_, ggml_mul_mat(ctx_, k, q), mask, scale, 0.0f);
    ggml_tensor *o = ggml_mul_mat(ctx_, v, probs);  // [head_dim_v, n, n_head]
    o = ggml_cont(ctx_, ggml_permute(ctx_, o, 0, 2, 1, 3));
    return ggml_reshape_2d(ctx_, o, hparams_.head_dim_v * shape.n_head, n);
}

// Every expert for every row, weighted with 0 where it is not used.
ggml_tensor *BlockBuilder::all_experts(int il, ggml_tensor *x, ggml_tensor *probs,
                                       ggml_tensor *expert_mask) const {
    const LayerWeights &layer = weights_.layers[il];
    const int64_t n = x->ne[1];
    ggml_tensor *weights = ggml_mul(ctx_, probs, expert_mask);  // [n_expert, n]
    weights = ggml_div(ctx_, weights, ggml_repeat(ctx_, ggml_sum_rows(ctx_, weights), weights));
    const auto expert = [&](ggml_tensor *all, int e) {
        return ggml_view_2d(ctx_, all, all->ne[0], all->ne[1], all->nb[1],
                            all->nb[2] * static_cast<size_t>(e));
    };
    ggml_tensor *total = nullptr;
    for (int e = 0; e < hparams_.n_expert; ++e) {
        ggml_tensor *up = ggml_mul_mat(ctx_, expert(layer.ffn_up_exps, e), x);
        ggml_tensor *gate = ggml_mul_mat(ctx_, expert(layer.ffn_gate_exps, e), x);
        ggml_tensor *y =
            ggml_mul_mat(ctx_, expert(layer.ffn_down_exps, e), ggml_swiglu_split(ctx_, gate, up));
        ggml_tensor *weight = ggml_view_2d(ctx_, weights, 1, n, weights->nb[1],
                                           weights->nb[0] * static_cast<size_t>(e));
        y = ggml_mul(ctx_, y, ggml_cont(ctx_, weight));  // [n_embd, n]
        total = total == nullptr ? y : ggml_add(ctx_, total, y);
    }
    return total;
}

ggml_tensor *BlockBuilder::whole_block(int il, ggml_tensor *h, ggml_tensor *positions,
                                       ggml_tensor *mask, ggml_tensor *expert_mask) const {
    const LayerWeights &layer = weights_.layers[il];
    ggml_tensor *a = attention_norm(il, h);
    ggml_tensor *o = attend_plain(il, a, positions, mask);
    h = ggml_add(ctx_, project(layer.attn_output, layer.attn_output_bias, o), h);
    ggml_tensor *x = rms_norm(h, layer.ffn_norm);
    if (layer.ffn_gate_inp == nullptr) {
        return feed_forward(il, x, h);
    }
    ggml_tensor *probs = ggml_soft_max(ctx_, ggml_mul_mat(ctx_, layer.ffn_gate_inp, x));
    return expert_mask == nullptr ? probs
                                  : ggml_add(ctx_, all_experts(il, x, probs, expert_mask), h);
}

}  // namespace orthorank
