// Granite 3 and 4, dense, and Granite with experts (one of them used by every row, if the file has
// it): a Llama with scales of embeddings, of what layers add, of attention and of logits.
#include "model/architecture.h"
#include "model/limits.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void read_scales(const ArchKeys &keys, Hparams &h) {
    h.logit_scale = 1.0f / keys.number("logit_scale", 0, 1e6);
    // 0 is how files say "none".
    h.embedding_scale = keys.scale("embedding_scale", 1.0f);
    const float residual = keys.scale("residual_scale", 1.0f);
    const int n_ff_shared = keys.integer("expert_shared_feed_forward_length", 0, k_max_ff, 0);
    for (LayerSpec &layer : h.layers) {
        layer.residual_scale = residual;
        layer.attention_scale = keys.scale("attention.scale", layer.attention_scale);
        layer.n_ff_shared = h.n_expert > 0 ? n_ff_shared : 0;
    }
}

void read_dense(const ArchKeys &keys, Hparams &h) {
    read_scales(keys, h);
    // This family says by it whether there is a rotation at all.
    if (!keys.flag("rope.scaling.finetuned", true)) {
        for (LayerSpec &layer : h.layers) {
            layer.rotation.n_rot = 0;
        }
    }
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
    if (list.spec().n_ff_shared > 0) {
        list.shared_expert(/*is_gated=*/false);
    }
}

}  // namespace

const Architecture k_granite = {.name = "granite",
                                .rope_type = RopeType::norm,
                                .experts = Experts::optional,
                                .rope_factors = RopeFactors::one,
                                .read = read_dense,
                                .list_layer = list_layer};

const Architecture k_granitemoe = {.name = "granitemoe",
                                   .rope_type = RopeType::norm,
                                   .experts = Experts::optional,
                                   .rope_factors = RopeFactors::one,
                                   .read = read_scales,
                                   .list_layer = list_layer};

}  // namespace orthorank
