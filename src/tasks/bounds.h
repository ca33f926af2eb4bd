// What a plan can gain at most on a shape, for the benchmark's bound column: arithmetic for a
// prefill, bytes read for a decode (select/cost_model.h, specification section 9).
#pragma once

#include "model/model.h"
#include "select/cost_model.h"
#include "tasks/bench.h"

namespace orthorank {

// Counts for the cost model. Throws Error{format} when layers differ in shape (the model counts
// one).
ModelShape model_shape(const Hparams &hparams);

// Speed-up over the dense plan that the cost model allows; the head computes the last row. For a
// decode, `fraction_of_rows` is what the run really computed in its selecting layers, and
// kv_bytes the bytes of one element of the KV cache,
// correction_type what corrections are stored in on the device.
double speed_up_bound(const Model &model, const Plan &plan, const BenchShape &shape,
                      double fraction_of_rows, double kv_bytes,
                      CorrectionType correction_type = CorrectionType::f16);

}  // namespace orthorank
