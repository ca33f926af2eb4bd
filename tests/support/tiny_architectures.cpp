// The tiny models of architectures beyond Llama and Qwen.
#include <stdexcept>

#include "support/tiny_gguf.h"

namespace orthorank::test {

namespace {

TinyModel named(const std::string &name, const std::string &arch) {
    TinyModel m;
    m.name = name;
    m.arch = arch;
    m.n_head_kv = 2;
    return m;
}

// Five layers with a window, one without, and one more with.
TinyModel gemma3() {
    TinyModel m = named("gemma3", "gemma3");
    m.n_layers = 7;
    m.head_dim = 32;
    m.has_qk_norms = true;
    m.has_post_norms = true;
    m.is_tied = true;
    m.rope_freq_base = 1000000;
    m.integers = {{"attention.sliding_window", 20}};
    return m;
}

TinyModel gemma2() {
    TinyModel m = named("gemma2", "gemma2");
    m.head_dim = 32;
    m.has_post_norms = true;
    m.is_tied = true;
    m.integers = {{"attention.sliding_window", 20}};
    m.numbers = {{"attn_logit_softcapping", 3.0f}, {"final_logit_softcapping", 4.0f}};
    return m;
}

TinyModel qwen3moe() {
    TinyModel m = named("qwen3moe", "qwen3moe");
    m.head_dim = 32;
    m.has_qk_norms = true;
    m.n_expert = 8;
    m.n_expert_used = 3;
    m.n_ff_expert = 64;
    return m;
}

TinyModel qwen2moe() {
    TinyModel m = named("qwen2moe", "qwen2moe");
    m.has_qkv_biases = true;
    m.n_expert = 4;
    m.n_expert_used = 2;
    m.n_ff_expert = 64;
    m.n_ff_shared = 96;
    m.has_shared_gate = true;
    return m;
}

TinyModel phi3() {
    TinyModel m = named("phi", "phi3");  // libllama looks for Phi 3's tokens by the model's name
    m.is_fused = true;
    m.n_rot = 12;
    m.has_context_factors = true;
    m.integers = {{"rope.scaling.original_context_length", 512}, {"attention.sliding_window", 20}};
    m.numbers = {{"rope.scaling.attn_factor", 1.19f}};
    return m;
}

// The fourth of five layers has no rotation.
TinyModel smollm3() {
    TinyModel m = named("smollm3", "smollm3");
    m.n_layers = 5;
    m.is_tied = true;
    return m;
}

TinyModel granite() {
    TinyModel m = named("granite", "granite");
    m.is_tied = true;
    m.numbers = {{"logit_scale", 3.0f},
                 {"residual_scale", 0.4f},
                 {"embedding_scale", 2.5f},
                 {"attention.scale", 0.1f}};
    return m;
}

TinyModel granitemoe() {
    TinyModel m = granite();
    m.name = m.arch = "granitemoe";
    m.n_expert = 4;
    m.n_expert_used = 2;
    m.n_ff_shared = 96;
    return m;
}

TinyModel olmo2() {
    TinyModel m = named("olmo2", "olmo2");
    m.has_pre_norms = false;
    m.has_post_norms = true;
    m.has_width_norms = true;
    return m;
}

// Windows in three layers of four; YaRN in the others, and the keys that llama.cpp's converter
// writes for it.
TinyModel olmo3() {
    TinyModel m = olmo2();
    m.name = "olmo3";
    m.n_layers = 5;
    m.integers = {{"attention.sliding_window", 20}};
    m.rope_scaling = "yarn";
    m.rope_factor = 4;
    m.numbers = {{"rope.scaling.attn_factor", 1.2f}, {"rope.scaling.yarn_attn_factor", 1.2f}};
    return m;
}

TinyModel mistral3() {
    TinyModel m = named("mistral3", "mistral3");
    m.head_dim = 32;
    m.n_ctx = 1024;
    m.rope_scaling = "yarn";
    m.rope_factor = 4;  // and an original context of 256
    m.numbers = {{"attention.temperature_scale", 0.4f},
                 {"rope.scaling.yarn_log_multiplier", 0.7f},
                 {"rope.scaling.yarn_beta_fast", 16.0f}};
    return m;
}

// Gates and ups that reach the clamp; experts of a width of their own.
TinyModel gpt_oss() {
    TinyModel m = named("gpt_oss", "gpt-oss");
    m.head_dim = 32;
    m.has_qkv_biases = true;
    m.has_all_biases = true;
    m.has_sinks = true;
    m.ffn_norm = "post_attention_norm";
    m.n_expert = 8;
    m.n_expert_used = 3;
    m.n_ff_expert = 64;
    m.gate_gain = 4;
    m.rope_freq_base = 150000;
    m.rope_scaling = "yarn";
    m.rope_factor = 4;
    m.integers = {{"attention.sliding_window", 20}};
    return m;
}

// Wide heads and no values of their own in the third of four layers, which sees all.
TinyModel gemma4() {
    TinyModel m = named("gemma4", "gemma4");
    m.n_layers = 4;
    m.head_dim = 64;
    m.head_dim_local = 32;
    m.windowed = {1, 1, 0, 1};
    m.lacks_values = true;
    m.has_qk_norms = true;
    m.head_norm_gain = 0.4f;  // products are not scaled otherwise
    m.has_post_norms = true;
    m.has_layer_scale = true;
    m.has_rope_freqs = true;
    m.is_tied = true;
    m.rope_freq_base = 1000000;
    m.integers = {{"attention.sliding_window", 20}, {"embedding_length_per_layer_input", 0}};
    m.numbers = {{"final_logit_softcapping", 4.0f}};
    return m;
}

TinyModel gemma4moe() {
    TinyModel m = gemma4();
    m.name = "gemma4moe";
    m.has_dense_beside = true;
    m.n_expert = 8;
    m.n_expert_used = 3;
    m.n_ff_expert = 64;
    return m;
}

// Embeddings for every layer; of eight layers the last three read the keys of the fourth, which
// has a window, and of the fifth.
TinyModel gemma4e() {
    TinyModel m = gemma4();
    m.name = "gemma4e";
    m.n_layers = 8;
    m.windowed = {1, 1, 0, 1, 0, 1, 1, 0};
    m.lacks_values = false;
    m.n_embd_per_layer = 32;
    m.n_without_keys = 3;
    m.integers = {{"attention.sliding_window", 20},
                  {"embedding_length_per_layer_input", 32},
                  {"attention.shared_kv_layers", 3}};
    return m;
}

}  // namespace

std::vector<TinyModel> tiny_architectures() {
    return {gemma3(),   gemma2(),  qwen3moe(),   qwen2moe(),  phi3(),
            smollm3(),  granite(), granitemoe(), olmo2(),     olmo3(),
            mistral3(), gpt_oss(), gemma4(),     gemma4moe(), gemma4e()};
}

TinyModel tiny_architecture(const std::string &name) {
    for (TinyModel &model : tiny_architectures()) {
        if (model.name == name) {
            return model;
        }
    }
    throw std::logic_error("no tiny " + name);
}

}  // namespace orthorank::test
