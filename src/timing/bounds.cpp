#include "timing/bounds.h"

#include <algorithm>

#include "base/error.h"
#include "model/weight_bytes.h"

namespace orthorank {

ModelShape model_shape(const Model &model) {
    const Hparams &hparams = model.hparams();
    ModelShape shape;
    shape.n_embd = hparams.n_embd;
    shape.n_vocab = hparams.n_vocab;
    for (const LayerSpec &layer : hparams.layers) {
        LayerWidths widths;
        widths.n_embd = hparams.n_embd;
        widths.n_head = layer.n_head;
        widths.n_head_kv = layer.n_head_kv;
        widths.head_dim = layer.head_dim;
        widths.n_ff = layer.n_ff;
        widths.n_expert = hparams.n_expert;
        widths.n_expert_used = hparams.n_expert_used;
        widths.n_ff_shared = layer.n_ff_shared;
        widths.window = layer.window;
        const LayerWeights &weights = model.weights().layers[shape.layers.size()];
        widths.n_kv_matrices =
            (weights.attn_k != nullptr ? 1 : 0) + (weights.attn_v != nullptr ? 1 : 0);
        widths.n_embd_per_layer = hparams.n_embd_per_layer;
        shape.layers.push_back(widths);
    }
    return shape;
}

namespace {

// What a decode of this shape reads at its average depth.
DecodeBytes decode_bytes(const Model &model, const BenchShape &shape, const DecodeFacts &facts) {
    const Hparams &hparams = model.hparams();
    const double depth = shape.depth + 0.5 * (shape.n_tokens + 1);
    DecodeBytes bytes;
    for (int il = 0; il < hparams.n_layers; ++il) {
        const LayerWeightBytes layer = layer_weight_bytes(model, il);
        LayerBytes counts;
        counts.kv_weights = static_cast<double>(layer.kv);
        counts.q_o_weights = static_cast<double>(layer.q_o);
        counts.ffn_weights = static_cast<double>(layer.ffn);
        const int window = hparams.layers[static_cast<size_t>(il)].window;
        const double n_cells = window > 0 ? std::min<double>(depth, window) : depth;
        counts.cache = n_cells * facts.kv_element * (hparams.n_embd_k(il) + hparams.n_embd_v(il));
        bytes.layers.push_back(counts);
    }
    bytes.head = static_cast<double>(head_weight_bytes(model));
    bytes.correction_element = facts.correction_element;
    return bytes;
}

Plan plan_in(Phase phase, const Plan &plan) {
    return phase == Phase::prefill ? plan_in_prefill(plan) : plan_in_decode(plan);
}

// The plan with the ratio that each layer really had in a run.
Plan as_run(Plan plan, const DecodeFacts &facts) {
    CHECK(facts.layer_fractions.size() == plan.layers.size());
    for (size_t il = 0; il < plan.layers.size(); ++il) {
        if (plan.layers[il].action == Action::select) {
            plan.layers[il].ratio = facts.layer_fractions[il];
        }
    }
    return plan;
}

Plan without_corrections(Plan plan) {
    for (LayerPlan &layer : plan.layers) {
        layer.correction = nullptr;
    }
    return plan;
}

// What remains of one kind of bytes, the others taken as nothing.
double remaining(const DecodeBytes &bytes, double LayerBytes::*kind, const Plan &plan,
                 int n_sequences) {
    DecodeBytes of_kind;
    for (const LayerBytes &layer : bytes.layers) {
        LayerBytes one;
        one.*kind = layer.*kind;
        of_kind.layers.push_back(one);
    }
    return 1.0 / decode_speed_up_bound(of_kind, plan, n_sequences);
}

// Fractions of the operations that depend on a plan.
struct Remaining {
    double kv = 1;
    double q_o = 1;
    double attention = 1;
    double ffn = 1;
};

Remaining prefill_remaining(const Model &model, const Plan &plan, int n) {
    const ModelShape shape = model_shape(model);
    const OperationFlops dense =
        prefill_operations(shape, dense_plan(shape.n_layers()), n, HeadRows::last_read);
    const OperationFlops flops = prefill_operations(shape, plan, n, HeadRows::last_read);
    return {flops.kv / dense.kv, flops.q_o / dense.q_o, flops.attention / dense.attention,
            flops.ffn / dense.ffn};
}

Remaining decode_remaining(const DecodeBytes &bytes, const Plan &plan, int n_sequences) {
    const auto part = [&](double LayerBytes::*kind) {
        return remaining(bytes, kind, plan, n_sequences);
    };
    return {part(&LayerBytes::kv_weights), part(&LayerBytes::q_o_weights), part(&LayerBytes::cache),
            part(&LayerBytes::ffn_weights)};
}

}  // namespace

double speed_up_bound(const Model &model, const Plan &whole, const BenchShape &shape,
                      const DecodeFacts &facts) {
    const Plan plan = plan_in(shape.phase, whole);
    if (shape.phase == Phase::prefill) {
        return prefill_speed_up_bound(model_shape(model), plan, shape.n_tokens,
                                      HeadRows::last_read);
    }
    return decode_speed_up_bound(decode_bytes(model, shape, facts), as_run(plan, facts),
                                 shape.n_sequences);
}

std::optional<double> shape_flops(const Model &model, const Plan &plan, const BenchShape &shape) {
    if (shape.phase == Phase::decode) {
        return std::nullopt;
    }
    return shape.n_sequences * prefill_flops(model_shape(model), plan_in_prefill(plan),
                                             shape.n_tokens, HeadRows::last_read);
}

std::optional<double> shape_bytes(const Model &model, const Plan &plan, const BenchShape &shape,
                                  const DecodeFacts &facts) {
    if (shape.phase == Phase::prefill) {
        return std::nullopt;
    }
    return shape.n_tokens * decode_step_bytes(decode_bytes(model, shape, facts),
                                              as_run(plan_in_decode(plan), facts),
                                              shape.n_sequences);
}

double time_bound(const Model &model, const Plan &whole, const BenchShape &shape,
                  const DecodeFacts &facts, const OperationTimes &dense) {
    const Plan plan = plan_in(shape.phase, whole);
    const Remaining part =
        shape.phase == Phase::prefill
            ? prefill_remaining(model, plan, shape.n_tokens)
            : decode_remaining(decode_bytes(model, shape, facts),
                               without_corrections(as_run(plan, facts)), shape.n_sequences);
    const auto n_skipped = static_cast<double>(plan.layers_with(Action::skip).size());
    OperationTimes left = dense;
    left[Operation::norm] *= 1.0 - n_skipped / plan.n_layers();  // K and V need it of all rows
    left[Operation::kv] *= part.kv;
    left[Operation::q_o] *= part.q_o;
    left[Operation::attention] *= part.attention;
    left[Operation::ffn] *= part.ffn;
    return dense.total() / left.total();
}

}  // namespace orthorank
