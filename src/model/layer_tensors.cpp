// The groups of tensors that architectures list of a layer.
#include <ggml.h>

#include "base/error.h"
#include "model/tensor_list.h"

namespace orthorank {

void TensorList::attention() {
    matrix(&LayerWeights::attn_q, h_.n_embd, h_.n_embd_q(il_));
    matrix(&LayerWeights::attn_k, h_.n_embd, h_.n_embd_k(il_));
    matrix(&LayerWeights::attn_v, h_.n_embd, h_.n_embd_v(il_));
    matrix(&LayerWeights::attn_output, h_.n_embd_q(il_), h_.n_embd);
    attention_biases();
}

void TensorList::attention_sharing_keys() {
    matrix(&LayerWeights::attn_output, h_.n_embd_q(il_), h_.n_embd);
    if (!h_.has_keys(il_)) {
        matrix(&LayerWeights::attn_q, h_.n_embd, h_.n_embd_q(il_));
        ignored("attn_k.weight");  // some files have them nevertheless
        ignored("attn_v.weight");
        ignored("attn_k_norm.weight");
    } else if (!fused_projections()) {
        matrix(&LayerWeights::attn_q, h_.n_embd, h_.n_embd_q(il_));
        matrix(&LayerWeights::attn_k, h_.n_embd, h_.n_embd_k(il_));
        layer_tensor(&LayerWeights::attn_v, {h_.n_embd, h_.n_embd_v(il_), 1, 1}, WeightUse::matrix,
                     Presence::optional);
    }
}

void TensorList::ignored(const char *name) {
    asked_.insert(name_of(name));
}

void TensorList::sinks() {
    layer_tensor(&LayerWeights::attn_sinks, {spec().n_head, 1, 1, 1}, WeightUse::vector);
}

void TensorList::attention_biases() {
    bias(&LayerWeights::attn_q_bias, h_.n_embd_q(il_));
    bias(&LayerWeights::attn_k_bias, h_.n_embd_k(il_));
    bias(&LayerWeights::attn_v_bias, h_.n_embd_v(il_));
    bias(&LayerWeights::attn_output_bias, h_.n_embd);
}

// Q, K and V from one tensor; returns whether the file has it.
bool TensorList::fused_projections() {
    const int64_t n_q = h_.n_embd_q(il_);
    const int64_t n_k = h_.n_embd_k(il_);
    const int64_t n_v = h_.n_embd_v(il_);
    const TensorInfo *whole = find(name_of("attn_qkv.weight"), {h_.n_embd, n_q + n_k + n_v, 1, 1},
                                   WeightUse::matrix, Presence::optional);
    if (whole == nullptr) {
        return false;
    }
    int64_t first_row = 0;
    part(&LayerWeights::attn_q, *whole, first_row, n_q);
    part(&LayerWeights::attn_k, *whole, first_row, n_k);
    part(&LayerWeights::attn_v, *whole, first_row, n_v);
    return true;
}

void TensorList::fused_attention() {
    if (!fused_projections()) {
        attention();
        return;
    }
    matrix(&LayerWeights::attn_output, h_.n_embd_q(il_), h_.n_embd);
    attention_biases();
}

void TensorList::head_norms() {
    const Shape ne = {spec().head_dim, 1, 1, 1};
    layer_tensor(&LayerWeights::attn_q_norm, ne, WeightUse::vector);
    if (h_.has_keys(il_)) {
        layer_tensor(&LayerWeights::attn_k_norm, ne, WeightUse::vector);
    }
}

void TensorList::width_norms() {
    layer_tensor(&LayerWeights::attn_q_norm, {h_.n_embd_q(il_), 1, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::attn_k_norm, {h_.n_embd_k(il_), 1, 1, 1}, WeightUse::vector);
}

void TensorList::feed_forward() {
    if (h_.n_expert > 0) {
        experts();
        return;
    }
    const int64_t n_ff = spec().n_ff;
    dense_network(n_ff);
    bias(&LayerWeights::ffn_gate_bias, n_ff);
    bias(&LayerWeights::ffn_up_bias, n_ff);
    bias(&LayerWeights::ffn_down_bias, h_.n_embd);
}

void TensorList::dense_network(int64_t n_ff) {
    matrix(&LayerWeights::ffn_gate, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_up, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_down, n_ff, h_.n_embd);
}

void TensorList::dense_beside_experts() {
    if (h_.n_expert == 0) {
        dense_network(spec().n_ff);
        return;
    }
    dense_network(spec().n_ff_shared);
    norm(&LayerWeights::ffn_gate_inp_scale);
    norm(&LayerWeights::ffn_pre_norm_2);
    norm(&LayerWeights::ffn_post_norm_1);
    norm(&LayerWeights::ffn_post_norm_2);
    const int64_t n_ff = spec().n_ff;
    const int64_t n = h_.n_expert;
    if (layer_tensor(&LayerWeights::ffn_gate_up_exps, {h_.n_embd, 2 * n_ff, n, 1},
                     WeightUse::experts, Presence::optional)) {
        matrix(&LayerWeights::ffn_gate_inp, h_.n_embd, n);
        layer_tensor(&LayerWeights::ffn_down_exps, {n_ff, h_.n_embd, n, 1}, WeightUse::experts);
    } else {
        experts();
    }
    layer_tensor(&LayerWeights::ffn_down_exps_scale, {n, 1, 1, 1}, WeightUse::vector,
                 Presence::optional);
}

void TensorList::per_layer_embedding() {
    const int64_t n = h_.n_embd_per_layer;
    if (n == 0) {
        return;
    }
    const TensorInfo *whole =
        find("per_layer_model_proj.weight", {h_.n_embd, n * h_.n_layers, 1, 1}, WeightUse::matrix,
             Presence::required);
    int64_t first_row = n * il_;
    part(&LayerWeights::ple_model_proj, *whole, first_row, n);
    one_for_all(&LayerWeights::ple_norm, "per_layer_proj_norm.weight", n, Presence::required);
    matrix(&LayerWeights::ple_gate, h_.n_embd, n);
    matrix(&LayerWeights::ple_proj, n, h_.n_embd);
    norm(&LayerWeights::ple_post_norm);
}

void TensorList::layer_scale() {
    layer_tensor(&LayerWeights::layer_scale, {1, 1, 1, 1}, WeightUse::vector, Presence::optional);
}

void TensorList::fused_feed_forward() {
    const int64_t n_ff = spec().n_ff;
    const TensorInfo *whole = find(name_of("ffn_up.weight"), {h_.n_embd, 2 * n_ff, 1, 1},
                                   WeightUse::matrix, Presence::required);
    int64_t first_row = 0;
    part(&LayerWeights::ffn_gate, *whole, first_row, n_ff);
    part(&LayerWeights::ffn_up, *whole, first_row, n_ff);
    matrix(&LayerWeights::ffn_down, n_ff, h_.n_embd);
}

void TensorList::experts() {
    const std::string one = name_of("ffn_gate.0.weight");
    if (file_.find_tensor(one) != nullptr) {
        fail(ErrorKind::format,
             "{} has one tensor per expert ({}), a layout no longer read: convert the model again",
             file_.path(), one);
    }
    const int64_t n_ff = spec().n_ff;
    const int64_t n = h_.n_expert;
    matrix(&LayerWeights::ffn_gate_inp, h_.n_embd, n);
    layer_tensor(&LayerWeights::ffn_gate_exps, {h_.n_embd, n_ff, n, 1}, WeightUse::experts);
    layer_tensor(&LayerWeights::ffn_up_exps, {h_.n_embd, n_ff, n, 1}, WeightUse::experts);
    layer_tensor(&LayerWeights::ffn_down_exps, {n_ff, h_.n_embd, n, 1}, WeightUse::experts);
}

void TensorList::expert_biases() {
    const int64_t n_ff = spec().n_ff;
    const int64_t n = h_.n_expert;
    layer_tensor(&LayerWeights::ffn_gate_inp_bias, {n, 1, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_gate_exps_bias, {n_ff, n, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_up_exps_bias, {n_ff, n, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_down_exps_bias, {h_.n_embd, n, 1, 1}, WeightUse::vector);
}

void TensorList::shared_expert(bool is_gated) {
    const int64_t n_ff = spec().n_ff_shared;
    if (is_gated) {
        layer_tensor(&LayerWeights::ffn_gate_inp_shexp, {h_.n_embd, 1, 1, 1}, WeightUse::matrix);
    }
    matrix(&LayerWeights::ffn_gate_shexp, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_up_shexp, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_down_shexp, n_ff, h_.n_embd);
}

}  // namespace orthorank
