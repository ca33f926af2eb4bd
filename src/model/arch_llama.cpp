// Llama 2 and 3, Mistral, Mixtral, SmolLM2.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
}

}  // namespace

const Architecture k_llama = {
    .name = "llama",
    .rope_type = RopeType::norm,
    .experts = Experts::optional,
    .rope_factors = RopeFactors::one,
    .list_layer = list_layer,
};

}  // namespace orthorank
