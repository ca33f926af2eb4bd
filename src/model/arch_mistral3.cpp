// Ministral 3 and Mistral Small 3.x: a Llama whose queries grow with the logarithm of their
// position, with YaRN of a magnitude of its own.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void read(const ArchKeys &keys, Hparams &h) {
    h.temperature = keys.scale("attention.temperature_scale", 0.0f);
    h.temperature_length = h.layers.front().rotation.n_ctx_orig;
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
}

}  // namespace

const Architecture k_mistral3 = {.name = "mistral3",
                                 .rope_type = RopeType::norm,
                                 .experts = Experts::optional,
                                 .rope_factors = RopeFactors::one,
                                 .has_yarn_numbers = true,
                                 .read = read,
                                 .list_layer = list_layer};

}  // namespace orthorank
