// gpt-oss: experts with biases, a clamped gate and shares by a softmax over the used ones alone; a
// learned logit per head beside the products with keys; windows in every second layer.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_window_period = 2;

void read(const ArchKeys &keys, Hparams &h) {
    read_windows(keys, h, k_window_period, /*otherwise=*/{});
    read_expert_width(keys, h);
    const float base = h.layers.front().rotation.freq_base;
    const float local_base = keys.number("rope.freq_base_swa", 0, 1e12, base);
    for (LayerSpec &layer : h.layers) {
        if (layer.window > 0) {
            layer.rotation.freq_base = local_base;
        }
        layer.gate = Gate::clamped;
        layer.expert_shares = ExpertShares::of_used;
    }
}

void list_layer(TensorList &list) {
    list.norm(&LayerWeights::attn_norm);
    list.attention();
    list.sinks();
    list.norm(&LayerWeights::ffn_norm, "post_attention_norm.weight");
    list.feed_forward();
    list.expert_biases();
}

}  // namespace

const Architecture k_gpt_oss = {
    .name = "gpt-oss", .experts = Experts::required, .read = read, .list_layer = list_layer};

}  // namespace orthorank
