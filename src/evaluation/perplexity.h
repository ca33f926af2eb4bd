// Perplexity of several plans on the same windows, side by side: the protocol of
// docs/evaluation.md. With Windows::n_continuation the plans do their work in the windows' prompts
// alone, and what follows is scored. Each window is a fresh pass; the arms take turns on each
// window, so that a machine that slows down slows all of them down.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "evaluation/divergence.h"
#include "evaluation/windows.h"

namespace orthorank {

// What is measured: a plan, and the engine that runs it. Two engines of one model with other
// kernels show what those change.
struct PerplexityArm {
    Engine *engine;
    Plan plan;
};

// One arm's numbers. A perplexity is exp of the mean over windows of the window's mean negative
// log-likelihood.
struct PerplexityResult {
    Plan plan;
    std::vector<double> window_nlls;
    double nll = 0;
    double ppl = 0;
    // Standard error of ppl from the spread between windows, by the delta method: ppl times the
    // standard error of nll. NaN for a single window. Neighbouring windows are not independent, so
    // it is a little too small; for comparing plans see ratio_se.
    double se = 0;
    // ppl / that of the first arm, with the standard error that follows from the differences
    // window by window: much smaller than the errors of the two.
    double ratio = 1;
    double ratio_se = 0;
    double seconds = 0;
    int64_t n_targets = 0;
    int64_t n_rows_offered = 0;  // to selecting layers, and how many they computed
    int64_t n_rows_computed = 0;
    std::optional<Divergence> divergence;  // from the first arm, if asked for
};

// After each window of each arm: how many of all are done, and the results so far (means only).
using OnPerplexity =
    std::function<void(size_t n_done, size_t n_all, std::span<const PerplexityResult>)>;

// One result per arm, in their order. Each engine needs one free sequence and a context of
// windows.n_ctx. Throws Error{limit} when there is no window.
// with_divergence: also how far each arm's distributions are from the first arm's, which takes
// memory for one window of its logits (targets * n_vocab floats). Throws
// Error{usage} when the continuation is as long as the window.
std::vector<PerplexityResult> perplexity(std::span<const PerplexityArm> arms,
                                         const Windows &windows, const OnPerplexity &on_window = {},
                                         bool with_divergence = false);

// The same of plans that one engine runs.
std::vector<PerplexityResult> perplexity(Engine &engine, const Windows &windows,
                                         std::span<const Plan> plans,
                                         const OnPerplexity &on_window = {},
                                         bool with_divergence = false);

}  // namespace orthorank
