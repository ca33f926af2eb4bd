#include "tasks/bounds.h"

#include "base/error.h"
#include "model/weight_bytes.h"

namespace orthorank {

ModelShape model_shape(const Hparams &hparams) {
    const LayerShape &first = hparams.layers.front();
    for (const LayerShape &layer : hparams.layers) {
        if (layer.n_head != first.n_head || layer.n_head_kv != first.n_head_kv ||
            layer.n_ff != first.n_ff) {
            fail(ErrorKind::format, "the cost model counts one layer, this model's layers differ");
        }
    }
    ModelShape shape;
    shape.n_layers = hparams.n_layers;
    shape.n_embd = hparams.n_embd;
    shape.n_head = first.n_head;
    shape.n_head_kv = first.n_head_kv;
    shape.head_dim = hparams.head_dim_k;
    shape.n_ff = first.n_ff;
    shape.n_vocab = hparams.n_vocab;
    shape.n_expert = hparams.n_expert;
    shape.n_expert_used = hparams.n_expert_used;
    return shape;
}

double speed_up_bound(const Model &model, const Plan &plan, const BenchShape &shape,
                      double fraction_of_rows, double kv_bytes, CorrectionType correction_type) {
    const Hparams &hparams = model.hparams();
    if (shape.phase == Phase::prefill) {
        return prefill_speed_up_bound(model_shape(hparams), plan, shape.n_tokens, HeadRows::last);
    }
    const double depth = shape.depth + 0.5 * (shape.n_tokens + 1);  // on average over the run
    DecodeBytes bytes;
    Plan as_run = plan;
    for (int il = 0; il < hparams.n_layers; ++il) {
        const LayerWeightBytes layer = layer_weight_bytes(model, il);
        LayerBytes counts;
        counts.kv_weights = static_cast<double>(layer.kv);
        counts.other_weights = static_cast<double>(layer.other);
        counts.cache = depth * kv_bytes * (hparams.n_embd_k(il) + hparams.n_embd_v(il));
        bytes.layers.push_back(counts);
        if (as_run.layers[static_cast<size_t>(il)].action == Action::select) {
            as_run.layers[static_cast<size_t>(il)].ratio = fraction_of_rows;
        }
    }
    bytes.correction_element = correction_type == CorrectionType::f16 ? 2 : 4;
    bytes.head = static_cast<double>(head_weight_bytes(model));
    return decode_speed_up_bound(bytes, as_run, shape.n_sequences);
}

}  // namespace orthorank
