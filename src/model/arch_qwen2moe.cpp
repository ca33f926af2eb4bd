// Qwen 1.5 and 2 with experts: biases on Q, K and V, experts of a width of their own whose weights
// are left as the router says, and beside them one that every row uses, with a gate.
#include "model/architecture.h"
#include "model/limits.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

void read(const ArchKeys &keys, Hparams &h) {
    keys.ignore("expert_shared_count");  // their widths together are one expert's
    const std::vector<int> shared =
        keys.integers("expert_shared_feed_forward_length", h.n_layers, 0, k_max_ff, 0);
    for (size_t il = 0; il < h.layers.size(); ++il) {
        LayerSpec &layer = h.layers[il];
        layer.n_ff_shared = shared[il] > 0 ? shared[il] : layer.n_ff;
        layer.expert_shares = ExpertShares::probabilities;
    }
    read_expert_width(keys, h);
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.norm(&LayerWeights::ffn_norm);
    list.feed_forward();
    list.shared_expert(/*is_gated=*/true);
}

}  // namespace

const Architecture k_qwen2moe = {
    .name = "qwen2moe", .experts = Experts::required, .read = read, .list_layer = list_layer};

}  // namespace orthorank
