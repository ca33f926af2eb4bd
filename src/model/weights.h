// The tensors of a model, by role. Pointers are borrowed from the Model that loaded them; a null
// pointer means that the model has no such tensor. Shapes in ggml order.
#pragma once

#include <vector>

struct ggml_tensor;

namespace orthorank {

struct LayerWeights {
    ggml_tensor *attn_norm = nullptr;    // [n_embd]
    ggml_tensor *attn_q = nullptr;       // [n_embd, n_embd_q]
    ggml_tensor *attn_k = nullptr;       // [n_embd, n_embd_k]
    ggml_tensor *attn_v = nullptr;       // [n_embd, n_embd_v]
    ggml_tensor *attn_output = nullptr;  // [head_dim_v * n_head, n_embd]
    ggml_tensor *attn_q_bias = nullptr;  // [n_embd_q]
    ggml_tensor *attn_k_bias = nullptr;
    ggml_tensor *attn_v_bias = nullptr;
    ggml_tensor *attn_output_bias = nullptr;
    ggml_tensor *attn_q_norm = nullptr;  // [head_dim_k]
    ggml_tensor *attn_k_norm = nullptr;
    ggml_tensor *ffn_norm = nullptr;  // [n_embd]
    ggml_tensor *ffn_gate = nullptr;  // [n_embd, n_ff]
    ggml_tensor *ffn_up = nullptr;    // [n_embd, n_ff]
    ggml_tensor *ffn_down = nullptr;  // [n_ff, n_embd]
    ggml_tensor *ffn_gate_bias = nullptr;
    ggml_tensor *ffn_up_bias = nullptr;
    ggml_tensor *ffn_down_bias = nullptr;
    ggml_tensor *ffn_gate_inp = nullptr;   // [n_embd, n_expert], the router
    ggml_tensor *ffn_gate_exps = nullptr;  // [n_embd, n_ff, n_expert]
    ggml_tensor *ffn_up_exps = nullptr;    // [n_embd, n_ff, n_expert]
    ggml_tensor *ffn_down_exps = nullptr;  // [n_ff, n_embd, n_expert]
};

struct Weights {
    ggml_tensor *token_embd = nullptr;   // [n_embd, n_vocab], for get_rows
    ggml_tensor *output_norm = nullptr;  // [n_embd]
    ggml_tensor *output = nullptr;  // [n_embd, n_vocab], for mul_mat (tied: the embedding's data)
    ggml_tensor *rope_freqs = nullptr;  // [n_rot / 2], divides the frequencies in every layer
    std::vector<LayerWeights> layers;
};

}  // namespace orthorank
