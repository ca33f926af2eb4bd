// SmolLM3: a Llama whose every fourth layer has no rotation.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_unrotated_period = 4;

void read(const ArchKeys &, Hparams &h) {
    for (int il = k_unrotated_period - 1; il < h.n_layers; il += k_unrotated_period) {
        h.layers[static_cast<size_t>(il)].rotation.n_rot = 0;
    }
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
}

}  // namespace

const Architecture k_smollm3 = {
    .name = "smollm3", .rope_type = RopeType::norm, .read = read, .list_layer = list_layer};

}  // namespace orthorank
