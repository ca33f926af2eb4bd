// OLMo 2 and 3: norms after both halves alone, and of all heads' queries and keys together; OLMo 3
// has windows in three layers of four, whose rotation is not stretched.
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

namespace {

constexpr int k_window_period = 4;

void read(const ArchKeys &keys, Hparams &h) {
    read_windows(keys, h, k_window_period);
    for (LayerSpec &layer : h.layers) {
        if (layer.window > 0) {
            layer.rotation.freq_scale = 1.0f;
            layer.rotation.ext_factor = 0.0f;
            layer.rotation.attn_factor = 1.0f;
        }
    }
}

void list_layer(TensorList &list) {
    list.attention();
    list.width_norms();
    list.norm(&LayerWeights::attn_post_norm);
    list.feed_forward();
    list.norm(&LayerWeights::ffn_post_norm);
}

}  // namespace

const Architecture k_olmo2 = {.name = "olmo2", .read = read, .list_layer = list_layer};

}  // namespace orthorank
