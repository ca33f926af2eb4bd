// Gemma 3: norms before and after both halves and of each head's queries and keys, GELU, windows in
// five layers of six with a rotation of their own, embeddings scaled by the root of the width.
// Texts begin with BOS, which is its sink.
#include <cmath>

#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_window_period = 6;
constexpr int k_n_layers_27b = 62;

void read(const ArchKeys &keys, Hparams &h) {
    read_windows(keys, h, k_window_period);
    const float local_base = keys.number("rope.freq_base_swa", 0, 1e12, 10000.0f);
    keys.ignore("attention.scale");  // libllama writes what it computes here
    const float scale = gemma_query_scale(h, k_n_layers_27b);
    for (LayerSpec &layer : h.layers) {
        if (layer.window > 0) {
            layer.rotation.freq_base = local_base;
            layer.rotation.freq_scale = 1.0f;
        }
        layer.query_scale = scale;
        layer.attention_scale = 1.0f;
        layer.gate = Gate::gelu;
    }
    h.embedding_scale = std::sqrt(static_cast<float>(h.n_embd));
    h.logit_cap = keys.cap("final_logit_softcapping", 0.0f);
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.head_norms();
    list.norm(&LayerWeights::attn_post_norm);
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
    list.norm(&LayerWeights::ffn_post_norm);
}

}  // namespace

const Architecture k_gemma3 = {
    .name = "gemma3", .needs_bos = true, .read = read, .list_layer = list_layer};

}  // namespace orthorank
