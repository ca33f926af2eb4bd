// The tensors of a model, by role. Pointers are borrowed from the Model that loaded them; a null
// pointer means that the model has no such tensor. Shapes in ggml order.
#pragma once

#include <array>
#include <vector>

struct ggml_tensor;

namespace orthorank {

struct LayerWeights {
    ggml_tensor *attn_norm = nullptr;    // [n_embd]; null: attention gets the residual stream
    ggml_tensor *attn_q = nullptr;       // [n_embd, n_embd_q]
    ggml_tensor *attn_k = nullptr;       // [n_embd, n_embd_k]; null: the layer has no keys
    ggml_tensor *attn_v = nullptr;       // [n_embd, n_embd_v]; null: made of what keys are made of
    ggml_tensor *attn_output = nullptr;  // [head_dim * n_head, n_embd]
    ggml_tensor *attn_q_bias = nullptr;  // [n_embd_q]
    ggml_tensor *attn_k_bias = nullptr;
    ggml_tensor *attn_v_bias = nullptr;
    ggml_tensor *attn_output_bias = nullptr;
    ggml_tensor *attn_sinks = nullptr;      // [n_head], a logit beside a row's products with keys
    ggml_tensor *attn_q_norm = nullptr;     // [head_dim], or of all heads together [n_embd_q]
    ggml_tensor *attn_k_norm = nullptr;     // [head_dim] or [n_embd_k]
    ggml_tensor *attn_post_norm = nullptr;  // [n_embd], of what attention adds
    ggml_tensor *ffn_norm = nullptr;        // [n_embd]
    ggml_tensor *ffn_gate = nullptr;        // [n_embd, n_ff]
    ggml_tensor *ffn_up = nullptr;          // [n_embd, n_ff]
    ggml_tensor *ffn_down = nullptr;        // [n_ff, n_embd]
    ggml_tensor *ffn_gate_bias = nullptr;
    ggml_tensor *ffn_up_bias = nullptr;
    ggml_tensor *ffn_down_bias = nullptr;
    ggml_tensor *ffn_gate_inp = nullptr;        // [n_embd, n_expert], the router
    ggml_tensor *ffn_gate_exps = nullptr;       // [n_embd, n_ff, n_expert]
    ggml_tensor *ffn_up_exps = nullptr;         // [n_embd, n_ff, n_expert]
    ggml_tensor *ffn_down_exps = nullptr;       // [n_ff, n_embd, n_expert]
    ggml_tensor *ffn_gate_inp_bias = nullptr;   // [n_expert]
    ggml_tensor *ffn_gate_exps_bias = nullptr;  // [n_ff, n_expert]
    ggml_tensor *ffn_up_exps_bias = nullptr;    // [n_ff, n_expert]
    ggml_tensor *ffn_down_exps_bias = nullptr;  // [n_embd, n_expert]
    // The expert that every row uses, and what gates it.
    ggml_tensor *ffn_gate_shexp = nullptr;      // [n_embd, n_ff_shared]
    ggml_tensor *ffn_up_shexp = nullptr;        // [n_embd, n_ff_shared]
    ggml_tensor *ffn_down_shexp = nullptr;      // [n_ff_shared, n_embd]
    ggml_tensor *ffn_gate_inp_shexp = nullptr;  // [n_embd]
    ggml_tensor *ffn_post_norm = nullptr;       // [n_embd], of what the feed-forward half adds
    // Of a mixture beside a dense network, gate and up together: [n_embd, 2 n_ff, n_expert].
    ggml_tensor *ffn_gate_up_exps = nullptr;
    ggml_tensor *ffn_down_exps_scale = nullptr;  // [n_expert], multiplies what an expert says
    ggml_tensor *ffn_gate_inp_scale = nullptr;   // [n_embd], of the rows that the router gets
    ggml_tensor *ffn_pre_norm_2 = nullptr;       // [n_embd], of the rows that the experts get
    ggml_tensor *ffn_post_norm_1 = nullptr;      // [n_embd], of what the dense network says
    ggml_tensor *ffn_post_norm_2 = nullptr;      // [n_embd], of what the experts say
    // What the layer adds behind its halves by its own embedding of a row's token: what makes that
    // of the model's embedding, what gates it and what brings it back.
    ggml_tensor *ple_model_proj = nullptr;  // [n_embd, n_embd_per_layer]
    ggml_tensor *ple_gate = nullptr;        // [n_embd, n_embd_per_layer]
    ggml_tensor *ple_proj = nullptr;        // [n_embd_per_layer, n_embd]
    ggml_tensor *ple_post_norm = nullptr;   // [n_embd]
    ggml_tensor *ple_norm = nullptr;  // [n_embd_per_layer]; one for the model, on each device once
    ggml_tensor *layer_scale = nullptr;  // [1], multiplies what leaves the layer
    // What divides the frequencies of rotations, [n_rot / 2]: in every context, or those of
    // contexts up to and beyond the original one. One for the model, held by each device once.
    ggml_tensor *rope_freqs = nullptr;
    ggml_tensor *rope_short = nullptr;
    ggml_tensor *rope_long = nullptr;
};

struct Weights {
    ggml_tensor *token_embd = nullptr;   // [n_embd, n_vocab], for get_rows
    ggml_tensor *output_norm = nullptr;  // [n_embd]
    ggml_tensor *output = nullptr;  // [n_embd, n_vocab], for mul_mat (tied: the embedding's data)
    // [n_embd_per_layer * n_layers, n_vocab], for get_rows: of a token, every layer's own embedding
    ggml_tensor *ple_token_embd = nullptr;
    std::vector<LayerWeights> layers;
};

// What a tensor of a layer is there for.
enum class LayerPart { kv, q_o, ffn, experts };
// A layer's own norm, one of queries or keys, a bias (a sink logit too), a matrix, or the router of
// a mixture.
enum class TensorKind { norm, head_norm, bias, matrix, router };

// One tensor that layers may have.
struct LayerTensor {
    ggml_tensor *LayerWeights::*slot;
    const char *name;  // in files, behind "blk.N."
    LayerPart part;
    TensorKind kind;
};

// All of them. Whoever does something with every tensor of a layer (counting bytes, summing Taylor
// scores) goes through this list.
constexpr std::array<LayerTensor, 45> k_layer_tensors = {{
    {&LayerWeights::attn_q, "attn_q.weight", LayerPart::q_o, TensorKind::matrix},
    {&LayerWeights::attn_k, "attn_k.weight", LayerPart::kv, TensorKind::matrix},
    {&LayerWeights::attn_v, "attn_v.weight", LayerPart::kv, TensorKind::matrix},
    {&LayerWeights::attn_output, "attn_output.weight", LayerPart::q_o, TensorKind::matrix},
    {&LayerWeights::attn_norm, "attn_norm.weight", LayerPart::q_o, TensorKind::norm},
    {&LayerWeights::attn_post_norm, "post_attention_norm.weight", LayerPart::q_o, TensorKind::norm},
    {&LayerWeights::ffn_norm, "ffn_norm.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ffn_post_norm, "post_ffw_norm.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ffn_gate, "ffn_gate.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_up, "ffn_up.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_down, "ffn_down.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_gate_inp, "ffn_gate_inp.weight", LayerPart::ffn, TensorKind::router},
    {&LayerWeights::ffn_gate_exps, "ffn_gate_exps.weight", LayerPart::experts, TensorKind::matrix},
    {&LayerWeights::ffn_up_exps, "ffn_up_exps.weight", LayerPart::experts, TensorKind::matrix},
    {&LayerWeights::ffn_down_exps, "ffn_down_exps.weight", LayerPart::experts, TensorKind::matrix},
    {&LayerWeights::ffn_gate_shexp, "ffn_gate_shexp.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_up_shexp, "ffn_up_shexp.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_down_shexp, "ffn_down_shexp.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ffn_gate_inp_shexp, "ffn_gate_inp_shexp.weight", LayerPart::ffn,
     TensorKind::router},
    {&LayerWeights::attn_q_norm, "attn_q_norm.weight", LayerPart::q_o, TensorKind::head_norm},
    {&LayerWeights::attn_k_norm, "attn_k_norm.weight", LayerPart::kv, TensorKind::head_norm},
    {&LayerWeights::attn_q_bias, "attn_q.bias", LayerPart::q_o, TensorKind::bias},
    {&LayerWeights::attn_k_bias, "attn_k.bias", LayerPart::kv, TensorKind::bias},
    {&LayerWeights::attn_v_bias, "attn_v.bias", LayerPart::kv, TensorKind::bias},
    {&LayerWeights::attn_output_bias, "attn_output.bias", LayerPart::q_o, TensorKind::bias},
    {&LayerWeights::ffn_gate_up_exps, "ffn_gate_up_exps.weight", LayerPart::experts,
     TensorKind::matrix},
    {&LayerWeights::ffn_down_exps_scale, "ffn_down_exps.scale", LayerPart::experts,
     TensorKind::bias},
    {&LayerWeights::ffn_gate_inp_scale, "ffn_gate_inp.scale", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ffn_pre_norm_2, "pre_ffw_norm_2.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ffn_post_norm_1, "post_ffw_norm_1.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ffn_post_norm_2, "post_ffw_norm_2.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ple_model_proj, "per_layer_model_proj.weight", LayerPart::ffn,
     TensorKind::matrix},
    {&LayerWeights::ple_norm, "per_layer_proj_norm.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::ple_gate, "inp_gate.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ple_proj, "proj.weight", LayerPart::ffn, TensorKind::matrix},
    {&LayerWeights::ple_post_norm, "post_norm.weight", LayerPart::ffn, TensorKind::norm},
    {&LayerWeights::layer_scale, "layer_output_scale.weight", LayerPart::ffn, TensorKind::bias},
    {&LayerWeights::attn_sinks, "attn_sinks.weight", LayerPart::q_o, TensorKind::bias},
    {&LayerWeights::ffn_gate_inp_bias, "ffn_gate_inp.bias", LayerPart::ffn, TensorKind::bias},
    {&LayerWeights::ffn_gate_exps_bias, "ffn_gate_exps.bias", LayerPart::experts, TensorKind::bias},
    {&LayerWeights::ffn_up_exps_bias, "ffn_up_exps.bias", LayerPart::experts, TensorKind::bias},
    {&LayerWeights::ffn_down_exps_bias, "ffn_down_exps.bias", LayerPart::experts, TensorKind::bias},
    {&LayerWeights::ffn_gate_bias, "ffn_gate.bias", LayerPart::ffn, TensorKind::bias},
    {&LayerWeights::ffn_up_bias, "ffn_up.bias", LayerPart::ffn, TensorKind::bias},
    {&LayerWeights::ffn_down_bias, "ffn_down.bias", LayerPart::ffn, TensorKind::bias},
}};

}  // namespace orthorank
