#include "model/weight_bytes.h"

#include <ggml.h>

#include <initializer_list>

namespace orthorank {

namespace {

int64_t sum_of(std::initializer_list<const ggml_tensor *> tensors) {
    int64_t bytes = 0;
    for (const ggml_tensor *tensor : tensors) {
        bytes += tensor == nullptr ? 0 : static_cast<int64_t>(ggml_nbytes(tensor));
    }
    return bytes;
}

}  // namespace

LayerWeightBytes layer_weight_bytes(const Model &model, int il) {
    const LayerWeights &layer = model.weights(Phase::decode).layers[static_cast<size_t>(il)];
    const Hparams &hparams = model.hparams();
    LayerWeightBytes bytes;
    bytes.kv = sum_of({layer.attn_k, layer.attn_v, layer.attn_k_bias, layer.attn_v_bias});
    bytes.q_o = sum_of({layer.attn_norm, layer.attn_q, layer.attn_output, layer.attn_q_bias,
                        layer.attn_output_bias});
    bytes.ffn =
        sum_of({layer.ffn_norm, layer.ffn_gate, layer.ffn_up, layer.ffn_down, layer.ffn_gate_inp});
    if (hparams.n_expert > 0) {
        bytes.ffn += sum_of({layer.ffn_gate_exps, layer.ffn_up_exps, layer.ffn_down_exps}) *
                     hparams.n_expert_used / hparams.n_expert;
    }
    return bytes;
}

int64_t head_weight_bytes(const Model &model) {
    const Weights &weights = model.weights(Phase::decode);
    return sum_of({weights.output, weights.output_norm});
}

}  // namespace orthorank
