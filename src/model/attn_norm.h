// Rows after a layer's attention norm, computed on the host: what corrections and probes are
// fitted on.
#pragma once

#include <span>
#include <vector>

#include "model/model.h"

namespace orthorank {

// RMSNorm with the layer's learned weight: hidden and result [n_embd, n]. A layer without that norm
// gives its rows as they are.
std::vector<float> attn_normed_rows(const Model &model, int il, std::span<const float> hidden);

// The variance (over n) of that weight; 0 without one.
double norm_weight_variance(const Model &model, int il);

}  // namespace orthorank
