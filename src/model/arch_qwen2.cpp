// Qwen 2 and 2.5: biases on Q, K and V.
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

const Architecture k_qwen2 = {.name = "qwen2", .list_layer = list_layer};

}  // namespace orthorank
