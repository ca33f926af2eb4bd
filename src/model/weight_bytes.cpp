#include "model/weight_bytes.h"

#include <ggml.h>

namespace orthorank {

namespace {

int64_t bytes_of(const ggml_tensor *tensor) {
    return tensor == nullptr ? 0 : static_cast<int64_t>(ggml_nbytes(tensor));
}

}  // namespace

LayerWeightBytes layer_weight_bytes(const Model &model, int il) {
    const LayerWeights &layer = model.weights(Phase::decode).layers[static_cast<size_t>(il)];
    const Hparams &hparams = model.hparams();
    LayerWeightBytes bytes;
    int64_t experts = 0;
    for (const LayerTensor &tensor : k_layer_tensors) {
        const int64_t n = bytes_of(layer.*tensor.slot);
        switch (tensor.part) {
            case LayerPart::kv:
                bytes.kv += n;
                break;
            case LayerPart::q_o:
                bytes.q_o += n;
                break;
            case LayerPart::ffn:
                bytes.ffn += n;
                break;
            case LayerPart::experts:
                experts += n;
                break;
        }
    }
    bytes.ffn += hparams.n_expert > 0 ? experts * hparams.n_expert_used / hparams.n_expert : 0;
    return bytes;
}

int64_t head_weight_bytes(const Model &model) {
    const Weights &weights = model.weights(Phase::decode);
    return bytes_of(weights.output) + bytes_of(weights.output_norm);
}

}  // namespace orthorank
