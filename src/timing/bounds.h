// What a plan can gain at most on a shape, for the benchmark's bound column: arithmetic for a
// prefill, bytes read for a decode (select/cost_model.h, specification section 9).
#pragma once

#include <optional>

#include "model/model.h"
#include "select/cost_model.h"
#include "timing/bench.h"

namespace orthorank {

// Counts for the cost model.
ModelShape model_shape(const Model &model);

// What a decode's bytes depend on beside the shape.
struct DecodeFacts {
    // The part of its rows that each layer really computed, one per layer (RunFacts).
    std::vector<double> layer_fractions;
    double kv_element = 2;          // bytes of one element of the KV cache
    double correction_element = 2;  // of a correction's matrices
};

// Speed-up over the dense plan that the cost model allows; the head computes the last row. The
// facts count for a decode alone.
double speed_up_bound(const Model &model, const Plan &plan, const BenchShape &shape,
                      const DecodeFacts &facts);

// FLOPs of a prefill of this shape, all sequences (select/cost_model.h); nothing for a decode.
std::optional<double> shape_flops(const Model &model, const Plan &plan, const BenchShape &shape);

// Bytes that all steps of a decode read of weights, cache and corrections; nothing for a prefill.
std::optional<double> shape_bytes(const Model &model, const Plan &plan, const BenchShape &shape,
                                  const DecodeFacts &facts);

// Speed-up over the dense plan if nothing but the dense run's own operations remained, each at the
// fraction that the cost model leaves of it and as fast as in the dense run: its total time / the
// sum over operations of (its time of the operation * remaining fraction). Scores, picking,
// gathering and corrections count as nothing, so it is a bound too, one that knows how fast each
// operation is on this machine. dense: the operations of the dense run of this shape.
double time_bound(const Model &model, const Plan &plan, const BenchShape &shape,
                  const DecodeFacts &facts, const OperationTimes &dense);

}  // namespace orthorank
