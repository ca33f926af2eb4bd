// Phi 3 and 4: Q, K and V in one tensor, gate and up in one, rotation of a part of each head, whose
// frequencies are divided by other numbers in long contexts. Its window is not computed, as by
// libllama.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void read(const ArchKeys &keys, Hparams &h) {
    keys.ignore("attention.sliding_window");
    for (LayerSpec &layer : h.layers) {
        layer.query_scale = layer.attention_scale;
        layer.attention_scale = 1.0f;
    }
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.fused_attention();
    list.norm(&LayerWeights::ffn_norm);
    list.fused_feed_forward();
}

}  // namespace

const Architecture k_phi3 = {.name = "phi3",
                             .rope_factors = RopeFactors::by_context,
                             .may_rotate_part = true,
                             .read = read,
                             .list_layer = list_layer};

}  // namespace orthorank
