// The numbers that define a decoder of the Llama family, read from GGUF metadata (keys and
// defaults: docs/models.md). Plain data. The rope numbers are as ggml_rope_ext takes them: YaRN's
// attention factor is already resolved.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace orthorank {

enum class Arch { llama, qwen2, qwen3 };

// How RoPE pairs the elements of a head: neighbours (llama) or halves (qwen).
enum class RopeType { norm, neox };

// What may differ from layer to layer: keys behind the architecture's name and a dot, each with one
// number for all layers or an array of one for each (or more, whose rest means nothing).
constexpr std::array<const char *, 3> k_layer_keys = {
    "attention.head_count", "attention.head_count_kv", "feed_forward_length"};

struct LayerShape {
    int n_head = 0;
    int n_head_kv = 0;
    int n_ff = 0;
};

struct Hparams {
    Arch arch = Arch::llama;
    std::string name;  // general.name, may be empty
    int n_layers = 0;
    int n_embd = 0;
    int n_vocab = 0;
    int n_ctx_train = 0;
    int head_dim_k = 0;  // width of a query or key head
    int head_dim_v = 0;
    std::vector<LayerShape> layers;  // one per layer
    int n_expert = 0;                // 0: no mixture of experts
    int n_expert_used = 0;
    float rms_eps = 0;
    // rotary position embedding
    RopeType rope_type = RopeType::norm;
    int n_rot = 0;
    float rope_freq_base = 10000.0f;
    float rope_freq_scale = 1.0f;
    float rope_attn_factor = 1.0f;
    float rope_ext_factor = 0.0f;  // YaRN; 0: off
    float rope_beta_fast = 32.0f;
    float rope_beta_slow = 1.0f;
    int rope_n_ctx_orig = 0;

    int n_embd_q(int il) const { return head_dim_k * layers[il].n_head; }
    int n_embd_k(int il) const { return head_dim_k * layers[il].n_head_kv; }
    int n_embd_v(int il) const { return head_dim_v * layers[il].n_head_kv; }
};

const char *arch_name(Arch arch);

class GgufFile;

// Reads and checks them: what this returns cannot divide by zero, overflow or ask for an absurd
// allocation. Defaults are llama.cpp's. Throws Error{format} naming key, found and expected.
Hparams read_hparams(const GgufFile &file);

}  // namespace orthorank
