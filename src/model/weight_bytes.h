// How many bytes of weights the parts of a model hold: what a decode step has to read.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace orthorank {

struct LayerWeightBytes {
    int64_t kv = 0;   // the projections to keys and values
    int64_t q_o = 0;  // to queries and from the heads' outputs, and the norms around them
    int64_t ffn = 0;  // all else; of a mixture of experts, the experts that one token uses
};

LayerWeightBytes layer_weight_bytes(const Model &model, int il);

// The output head and the final norm.
int64_t head_weight_bytes(const Model &model);

}  // namespace orthorank
