// A long stream of tokens, cut into windows that each are a fresh pass through the network, and
// the log-likelihood of one window: the inner part of perplexity and of layer selection
// (docs/evaluation.md, perplexity). Plain data and functions; an engine is used by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/stretch.h"

namespace orthorank {

// A stream of text from a file. By the name's ending: *.jsonl and *.json are JSON Lines, one
// object a line, whose text fields (`field`) are joined by one space; anything else is raw text,
// byte for byte. UTF-8. Throws Error{file}, Error{format} naming the line.
std::string read_stream(const std::string &path, const std::string &field = "text");

// Windows of n_ctx tokens each, one after the other.
struct Windows {
    int n_ctx = 0;
    std::vector<int32_t> tokens;  // size() * n_ctx

    size_t size() const { return n_ctx > 0 ? tokens.size() / static_cast<size_t>(n_ctx) : 0; }
    std::span<const int32_t> window(size_t i) const {
        const auto n = static_cast<size_t>(n_ctx);
        return std::span(tokens).subspan(i * n, n);
    }
};

// Adds the windows of one stream of tokens, max_windows of them at most (0: all); what is left
// over at the end belongs to no window. Returns how many were added.
size_t add_windows(Windows &windows, std::span<const int32_t> tokens, size_t max_windows = 0);

// Where a pass over a window begins: at its tokens, or at a layer with the hidden states that enter
// it (taken from a pass whose layers before that one were the same).
struct WindowStart {
    int layer = 0;
    std::span<const float> hidden;  // [n_embd, n_tokens], layer > 0 only
};

// The log-probability of each token of the window but the first, given all before it: one prefill
// of the empty sequence, logits of all rows. log_probs[i] is that of tokens[i + 1].
std::vector<float> window_log_probs(Engine &engine, Sequence &sequence,
                                    std::span<const int32_t> tokens, const WindowStart &start = {},
                                    const OnLogits &on_logits = {});

// The mean negative log-likelihood of a window's tokens but the first. The sequence is cleared
// first. NaN if the model's logits are not numbers. At least 2 tokens.
double window_nll(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
                  const WindowStart &start = {}, const OnLogits &on_logits = {});

}  // namespace orthorank
