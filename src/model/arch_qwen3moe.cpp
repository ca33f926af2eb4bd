// Qwen 3 with experts: norms of each head's queries and keys, experts of a width of their own whose
// weights are rescaled to sum to one.
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

const Architecture k_qwen3moe = {.name = "qwen3moe",
                                 .experts = Experts::required,
                                 .read = read_expert_width,
                                 .list_layer = list_layer};

}  // namespace orthorank
