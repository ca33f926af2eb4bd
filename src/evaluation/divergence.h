// How far the next-token distributions of plans are from those of a base (the dense model) on the
// same windows: the figures that llama.cpp's `perplexity --kl-divergence` prints. The base's logits
// of one window are kept while the plans run on it. One thread.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

// Over the rows of all windows that predict a target.
struct Divergence {
    double mean = 0;  // Kullback-Leibler divergence from the base, in nats
    double se = 0;    // its standard error, from the spread between windows; NaN for one window
    double median = 0;
    double p90 = 0;
    double p95 = 0;
    double p99 = 0;
    double max = 0;
    double same_top = 0;  // share of rows whose likeliest token is the base's
    size_t n_rows = 0;
};

class DivergenceMeter {
 public:
    // Of each window the rows first_row .. first_row + n_rows - 1 count. Takes n_rows * n_vocab
    // floats. Throws Error{limit} when there is no memory for them.
    DivergenceMeter(size_t first_row, size_t n_rows, int n_vocab, size_t n_plans, int n_threads);

    // The logits of a plan on the present window, in blocks; plan 0 is the base and comes first.
    void add(size_t plan, const LogitsBlock &block);
    // The base's divergence from itself is 0.
    Divergence result(size_t plan) const;

 private:
    struct Rows {
        std::vector<double> divergences;
        size_t n_same_top = 0;
    };

    size_t first_row_;
    size_t n_rows_;
    size_t n_vocab_;
    int n_threads_;
    std::vector<float> base_;  // [n_vocab, n_rows]
    std::vector<Rows> plans_;
};

}  // namespace orthorank
