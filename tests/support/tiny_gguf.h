// Small random models as GGUF files, one for each architecture that is supported, so that tests
// need no real model: deterministic by seed, with hidden states lively enough that rows differ, and
// with a SentencePiece vocabulary of 288 tokens that libllama loads too.
//
//     TempDir dir;
//     write_tiny_gguf(tiny_qwen3(), dir.file("m.gguf"));
//
// A test about damaged files edits the parts first:
//
//     TinyFile file = make_tiny_file(tiny_llama());
//     gguf_remove_key(file.meta.get(), "llama.block_count");
//     file.tensor("blk.0.attn_q.weight").ne = {64, 32};
//     file.write(path);
#pragma once

#include <ggml-cpp.h>
#include <ggml.h>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <utility>
#include <vector>

namespace orthorank::test {

constexpr int k_tiny_n_vocab = 288;  // <unk> <s> </s>, 256 bytes, space, a to z, two words

struct TinyModel {
    std::string name = "llama";  // of the test case, and general.name
    std::string arch = "llama";
    int n_layers = 3;
    int n_embd = 64;
    int n_head = 4;
    int n_head_kv = 4;
    int head_dim = 0;  // 0: n_embd / n_head, and no key_length in the file
    int n_ff = 128;
    int n_expert = 0;
    int n_expert_used = 0;
    int n_ctx = 2048;
    bool is_tied = false;         // no output.weight
    bool has_qkv_biases = false;  // qwen2
    bool has_all_biases = false;  // of attention's output, FFN and experts too
    bool has_qk_norms = false;    // qwen3
    float head_norm_gain = 1;     // of these norms
    bool has_rope_freqs = false;  // Llama 3.1
    float rope_freq_base = 10000;
    std::string rope_scaling;  // "", "none", "linear", "yarn"
    float rope_factor = 0;     // 0: not in the file
    // What further architectures have.
    bool has_pre_norms = true;         // before attention and feed-forward
    bool has_post_norms = false;       // of what they add
    bool has_width_norms = false;      // of all heads' queries and keys together
    bool is_fused = false;             // Q, K and V in one tensor, gate and up in one
    bool has_context_factors = false;  // rope factors of short and of long contexts
    int n_rot = 0;                     // 0: the whole head
    int n_ff_expert = 0;               // with its own key; 0: n_ff
    int n_ff_shared = 0;
    bool has_shared_gate = false;
    int head_dim_local = 0;         // of layers with a window, where it differs
    std::vector<uint8_t> windowed;  // a flag a layer; empty: not in the file
    bool lacks_values = false;      // no projection to values in layers without a window
    bool has_layer_scale = false;
    int n_embd_per_layer = 0;       // each layer's own embedding
    int n_without_keys = 0;         // layers at the end that read earlier ones' keys
    bool has_dense_beside = false;  // a dense network beside experts
    bool has_sinks = false;         // a logit per head
    std::string ffn_norm = "ffn_norm";
    float gate_gain = 1.5f;                   // of experts' gate and up
    ggml_type expert_type = GGML_TYPE_COUNT;  // of the experts' matrices; COUNT: as the others
    std::vector<std::pair<std::string, int>> integers;  // further keys
    std::vector<std::pair<std::string, float>> numbers;
    std::string chat_template;              // empty: none
    ggml_type weight_type = GGML_TYPE_F32;  // of the matrices; rows must be whole blocks of it
    uint64_t seed = 1;
};

TinyModel tiny_llama();           // multi-head attention, like Llama 2
TinyModel tiny_llama_gqa_tied();  // grouped queries, tied embeddings, like SmolLM2
TinyModel tiny_llama_rope();      // rope_freqs, like Llama 3.1
TinyModel tiny_llama_yarn();      // context stretched by YaRN
TinyModel tiny_llama_biases();    // every optional bias
TinyModel tiny_mixtral();         // two of four experts
TinyModel tiny_qwen2();           // biases on Q, K, V
TinyModel tiny_qwen3();           // q/k norms, heads wider than n_embd / n_head
// All of them, for parameterised tests.
std::vector<TinyModel> tiny_models();
// Those of the other architectures (tiny_architectures.cpp): windows, soft caps, scales, shared
// experts and the like, small enough to matter on 100 tokens.
std::vector<TinyModel> tiny_architectures();
TinyModel tiny_architecture(const std::string &name);
// The same model with rows of 256 and more, so that every quantised type fits (K quants too).
TinyModel widened(TinyModel model);

std::ostream &operator<<(std::ostream &out, const TinyModel &model);  // its name

struct TinyTensor {
    std::string name;
    ggml_type type = GGML_TYPE_F32;  // `values` are converted to it when written
    std::vector<int64_t> ne;         // in ggml order
    std::vector<float> values;
};

// A file in parts.
struct TinyFile {
    gguf_context_ptr meta;
    std::vector<TinyTensor> tensors;

    TinyTensor &tensor(const std::string &tensor_name);  // must be there
    void remove_tensor(const std::string &tensor_name);
    // Values are repeated or cut to fit an edited shape.
    void write(const std::string &path) const;
};

TinyFile make_tiny_file(const TinyModel &model);
// With every even layer cut to half its heads and half its feed-forward width, and arrays in the
// metadata that say so, with `n_more` entries more than there are layers. Dense models.
TinyFile make_uneven_file(const TinyModel &model, int n_more = 0);
void write_tiny_gguf(const TinyModel &model, const std::string &path);

}  // namespace orthorank::test
