// Shortened LLaMA's Taylor criterion: for each block the sum over the entries of its weights of
// |W * dLoss/dW|, Loss the mean negative log-likelihood over all windows, by ggml's automatic
// differentiation. One block at a time with F32 copies of its weights, read from the model's file;
// always on the CPU. Memory: one block's weights and gradients, one window's activations, the
// hidden states of all windows at all boundaries. Throws Error{file},
// Error{limit}, and Error{format} when a weight that is no number makes the scores none.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/model.h"

namespace orthorank {

struct TaylorScores {
    double loss = 0;             // mean over windows of the mean negative log-likelihood
    std::vector<double> scores;  // one per layer
};

// tokens: windows of n_ctx tokens. on_progress: fraction done, called often; it may throw to stop.
TaylorScores taylor_scores(const Model &model, std::span<const int32_t> tokens, int n_ctx,
                           int n_threads, const std::function<void(double)> &on_progress = {});

}  // namespace orthorank
