// Gemma 4: as Gemma 3, with heads of another width in layers with a window, values normed or made
// of what keys are made of, a scale of what leaves a layer, and in files with experts a dense
// network beside them. E2B and E4B: an embedding of a token for every layer, and at the end layers
// without keys, which read those of the last layer of their kind that has some.
#include <cmath>

#include "base/error.h"
#include "model/architecture.h"
#include "model/limits.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_window_period = 6;

// The last layers have no keys. Of those that have, the last sees all, and the one before it has a
// window: the layers behind read the one that is like them.
void read_shared_keys(const ArchKeys &keys, Hparams &h) {
    const int n_shared = keys.integer(k_shared_layers_key, 0, h.n_layers - 1, 0);
    const int n_own = h.n_layers - n_shared;
    for (int il = n_own; il < h.n_layers; ++il) {
        LayerSpec &layer = h.layers[static_cast<size_t>(il)];
        layer.kv_layer = n_own - (layer.window > 0 ? 2 : 1);
        const LayerSpec source =
            layer.kv_layer >= 0 ? h.layers[static_cast<size_t>(layer.kv_layer)] : LayerSpec{};
        if (source.window != layer.window || source.n_head_kv != layer.n_head_kv ||
            source.head_dim != layer.head_dim) {
            fail(ErrorKind::format,
                 "{}: key {} is {}: layer {} would read the keys of layer {}, which has another "
                 "window or other heads",
                 keys.file().path(), keys.full(k_shared_layers_key), n_shared, il, layer.kv_layer);
        }
    }
}

void read(const ArchKeys &keys, Hparams &h) {
    read_windows(keys, h, k_window_period);
    keys.ignore("attention.scale");  // libllama writes what it computes here
    const LayerSpec &first = h.layers.front();
    const HeadSize local = read_head_size(keys, true, "_swa", {first.head_dim, 0});
    const float local_base = keys.number("rope.freq_base_swa", 0, 1e12, 10000.0f);
    for (LayerSpec &layer : h.layers) {
        if (layer.window > 0) {
            layer.head_dim = local.width;
            layer.rotation.n_rot = local.n_rot;
            layer.rotation.freq_base = local_base;
            layer.rotation.freq_scale = 1.0f;
            layer.rotation.has_factors = false;
        }
        layer.attention_scale = 1.0f;
        layer.normalises_values = true;
        layer.gate = Gate::gelu;
        layer.n_ff_shared = h.n_expert > 0 ? layer.n_ff : 0;
    }
    if (h.n_expert > 0) {
        read_expert_width(keys, h);
    }
    read_shared_keys(keys, h);
    h.n_embd_per_layer = keys.integer("embedding_length_per_layer_input", 0, k_max_embd, 0);
    h.embedding_scale = std::sqrt(static_cast<float>(h.n_embd));
    h.logit_cap = keys.cap("final_logit_softcapping", 0.0f);
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention_sharing_keys();
    list.head_norms();
    list.norm(&LayerWeights::attn_post_norm);
    list.norm(&LayerWeights::ffn_norm);
    list.dense_beside_experts();
    list.norm(&LayerWeights::ffn_post_norm);
    list.per_layer_embedding();
    list.layer_scale();
}

}  // namespace

const Architecture k_gemma4 = {.name = "gemma4",
                               .needs_bos = true,
                               .experts = Experts::optional,
                               .rope_factors = RopeFactors::one,
                               .may_rotate_part = true,
                               .read = read,
                               .list_layer = list_layer};

}  // namespace orthorank
