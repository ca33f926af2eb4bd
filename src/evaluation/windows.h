// A long stream of tokens, cut into windows that each are a fresh pass through the network, and
// the log-likelihood of one window: the inner part of perplexity and of layer selection
// (docs/evaluation.md, perplexity). Plain data and functions; an engine is used by one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/stretch.h"

namespace orthorank {

// Windows of n_ctx tokens each, one after the other.
struct Windows {
    int n_ctx = 0;
    std::vector<int32_t> tokens;  // size() * n_ctx
    // The last so many tokens of each window are its targets, computed behind a prompt; 0: all but
    // the first are, and every row is the prompt's.
    int n_continuation = 0;
    // In place of n_continuation for the last windows: one each (calibration/retrieval.h).
    std::vector<int> other_continuations;

    size_t size() const { return n_ctx > 0 ? tokens.size() / static_cast<size_t>(n_ctx) : 0; }
    std::span<const int32_t> window(size_t i) const {
        const auto n = static_cast<size_t>(n_ctx);
        return std::span(tokens).subspan(i * n, n);
    }
    // Windows of running text: those before the ones with a continuation of their own.
    size_t n_plain() const { return size() - other_continuations.size(); }
    int continuation_of(size_t i) const {
        return i < n_plain() ? n_continuation : other_continuations[i - n_plain()];
    }
    std::span<const int32_t> prompt_of(size_t i) const {
        return window(i).first(static_cast<size_t>(n_ctx - continuation_of(i)));
    }
    int n_targets_of(size_t i) const {
        const int n = continuation_of(i);
        return n > 0 ? n : n_ctx - 1;
    }
};

// Adds the windows of one stream of tokens, max_windows of them at most (0: all); what is left
// over at the end belongs to no window. `first`: each window begins with this token (BOS), then
// come n_ctx - 1 of the stream. Returns how many were added.
size_t add_windows(Windows &windows, std::span<const int32_t> tokens, size_t max_windows = 0,
                   std::optional<int32_t> first = {});

// Where a pass over a window begins: at its tokens, or at a layer with the hidden states that enter
// it (taken from a pass whose layers before that one were the same). And which of its tokens are
// the targets.
struct WindowStart {
    int layer = 0;
    std::span<const float> hidden;  // [n_embd, n_tokens], layer > 0 only
    int n_continuation = 0;         // as Windows::n_continuation
    // What the nearest selecting layer before `layer` decided, where others inherit its rows.
    const LayerRecord *inherited = nullptr;
};

// The log-probability of each target of the window, given all tokens before it, in order; the
// sequence must be empty. All but the first token are targets: one prefill with the logits of all
// rows. With a continuation: a prefill of what is before it, then its rows in one chunk as decoded
// tokens, which a plan that applies to the prefill computes densely; up to rounding, a prefill and
// teacher-forced decode steps.
std::vector<float> window_log_probs(Engine &engine, Sequence &sequence,
                                    std::span<const int32_t> tokens, const WindowStart &start = {},
                                    const OnLogits &on_logits = {});

// The mean negative log-likelihood of a window's targets. The sequence is cleared
// first. NaN if the model's logits are not numbers. At least 2 tokens.
double window_nll(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
                  const WindowStart &start = {}, const OnLogits &on_logits = {});

}  // namespace orthorank
