// Qwen 3, dense: norms of each head's queries and keys.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.head_norms();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
}

}  // namespace

const Architecture k_qwen3 = {.name = "qwen3", .list_layer = list_layer};

}  // namespace orthorank
