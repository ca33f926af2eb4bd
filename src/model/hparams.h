// The numbers that define a decoder, read from GGUF metadata (keys and defaults: docs/models.md):
// the model's, and for each layer what it is made of beside its tensors (weights.h). Graphs follow
// this description and know no architecture; who fills it: architecture.h. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orthorank {

// How a rotation pairs the elements of a head: neighbours, or halves.
enum class RopeType { norm, neox };

// What gates a feed-forward network: x times the sigmoid of x; GELU in its tanh form; or gpt-oss's,
// x sigmoid(k_gate_alpha x) (y + 1) with gate x at most k_gate_limit and up y within
// +-k_gate_limit.
enum class Gate { silu, gelu, clamped };
constexpr float k_gate_alpha = 1.702f;
constexpr float k_gate_limit = 7.0f;

// What the used experts' outputs are multiplied by: their probabilities among all experts, as they
// are or rescaled to sum to one, or the softmax over the used ones alone.
enum class ExpertShares { probabilities, rescaled, of_used };

// How a layer's queries and keys are turned, as ggml_rope_ext takes it: YaRN's attention factor is
// already resolved.
struct Rotation {
    RopeType type = RopeType::norm;
    int n_rot = 0;  // the first numbers of each head that are turned; 0: no rotation
    float freq_base = 10000.0f;
    float freq_scale = 1.0f;
    float attn_factor = 1.0f;
    float ext_factor = 0.0f;  // YaRN; 0: off
    float beta_fast = 32.0f;
    float beta_slow = 1.0f;
    int n_ctx_orig = 0;
    bool has_factors =
        true;  // its frequencies are divided by the model's factors, if there are any

    bool operator==(const Rotation &) const = default;
};

// What may differ from layer to layer. Norms, biases and projections are there if the layer has
// their tensors.
struct LayerSpec {
    int n_head = 0;
    int n_head_kv = 0;
    int head_dim = 0;  // width of a query, key or value head
    int n_ff = 0;      // width of the feed-forward network, or of each expert
    Rotation rotation;
    int window = 0;                  // positions that a row sees, itself the last; 0: all before it
    float query_scale = 1.0f;        // multiplies queries after their rotation
    float attention_scale = 1.0f;    // multiplies products of queries and keys
    float attention_cap = 0.0f;      // c: products x become c tanh(x / c); 0: as they are
    float residual_scale = 1.0f;     // multiplies what a half adds to the residual stream
    bool normalises_values = false;  // each head's, without weights
    int kv_layer = -1;  // the earlier layer whose keys and values it reads; -1: it has its own
    Gate gate = Gate::silu;
    ExpertShares expert_shares = ExpertShares::rescaled;
    int n_ff_shared = 0;  // width of the expert that every row uses; 0: none

    bool operator==(const LayerSpec &) const = default;
};

struct Hparams {
    std::string arch;  // general.architecture
    std::string name;  // general.name, may be empty
    int n_layers = 0;
    int n_embd = 0;
    int n_vocab = 0;
    int n_ctx_train = 0;
    std::vector<LayerSpec> layers;  // one per layer
    std::vector<int> windows;       // those of the layers, each once: a mask for each
    int n_expert = 0;               // 0: no mixture of experts
    int n_expert_used = 0;
    int n_embd_per_layer = 0;  // width of each layer's own embedding of a token; 0: none
    float rms_eps = 0;
    float embedding_scale = 1.0f;  // multiplies the embedding of a token
    float logit_scale = 1.0f;      // multiplies the logits
    float logit_cap = 0.0f;        // then as attention_cap
    // Queries of position p are multiplied by 1 + temperature ln(1 + floor(p / length)).
    float temperature = 0.0f;
    int temperature_length = 0;

    int n_embd_q(int il) const { return layers[il].head_dim * layers[il].n_head; }
    int n_embd_k(int il) const { return layers[il].head_dim * layers[il].n_head_kv; }
    int n_embd_v(int il) const { return n_embd_k(il); }
    // Where windows has this layer's.
    size_t window_of(int il) const;
    bool has_keys(int il) const { return layers[il].kv_layer < 0; }
    // Whether later layers read its keys.
    bool is_read(int il) const;
    // Layers from this one on have no keys of their own; n_layers: the last one has.
    int tail_begin() const;
    // Where a pass with no past must begin that is to compute layer il and those behind it: there,
    // or at an earlier layer whose keys one of them reads.
    int start_of(int il) const;
};

// What queries of a position are multiplied by where the model has a temperature.
float query_temperature(const Hparams &hparams, int64_t position);

class GgufFile;

// Reads and checks them: what this returns cannot divide by zero, overflow or ask for an absurd
// allocation. Defaults are llama.cpp's. Throws Error{format} naming key, found and expected; also
// for a key that changes what a network computes and that we do not compute.
Hparams read_hparams(const GgufFile &file);

}  // namespace orthorank
