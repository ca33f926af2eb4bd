// Gemma 2: norms before and after both halves, GELU, soft caps on products and logits, windows in
// every second layer, embeddings scaled by the root of the width. Texts begin with BOS: without it
// it has no sink.
#include <cmath>

#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_window_period = 2;
constexpr int k_default_window = 4096;
constexpr int k_n_layers_27b = 46;
constexpr float k_attention_cap = 50.0f;  // where a file says nothing
constexpr float k_logit_cap = 30.0f;

void read(const ArchKeys &keys, Hparams &h) {
    read_windows(keys, h, k_window_period, k_default_window);
    const float base = h.layers.front().rotation.freq_base;
    const float local_base = keys.number("rope.freq_base_swa", 0, 1e12, base);
    keys.ignore("attention.scale");  // libllama writes what it computes here
    const float scale = gemma_query_scale(h, k_n_layers_27b);
    const float cap = keys.cap("attn_logit_softcapping", k_attention_cap);
    for (LayerSpec &layer : h.layers) {
        if (layer.window > 0) {
            layer.rotation.freq_base = local_base;
        }
        layer.query_scale = scale;
        layer.attention_scale = 1.0f;
        layer.attention_cap = cap;
        layer.gate = Gate::gelu;
    }
    h.embedding_scale = std::sqrt(static_cast<float>(h.n_embd));
    h.logit_cap = keys.cap("final_logit_softcapping", k_logit_cap);
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::attn_post_norm);
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
    list.norm(&LayerWeights::ffn_post_norm);
}

}  // namespace

const Architecture k_gemma2 = {
    .name = "gemma2", .needs_bos = true, .read = read, .list_layer = list_layer};

}  // namespace orthorank
