// Log-probabilities from logits: the inner loop of perplexity, evaluation and layer selection,
// written so that the compiler vectorises it and all processors work. Logits that are no numbers
// (NaN, +infinity) give results that are none either, never a plausible one. Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orthorank {

// log(sum(exp(row))), accumulated in double over blocks of float sums; relative error below 1e-6.
double log_sum_exp(std::span<const float> row);

// log p(targets[i]) under row i of logits [n_vocab, targets.size()], natural logarithm. A negative
// target has no value: its entry is 0.
void target_log_probs(const float *logits, int n_vocab, std::span<const int32_t> targets,
                      int n_threads, std::span<float> log_probs);

// sum p (log p - log q) over the vocabulary, where p and q are the softmax of two rows of logits:
// the Kullback-Leibler divergence of q from p, in nats. Not below 0.
double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits);

// Index of the largest logit, which must be numbers; the lowest index wins ties.
int32_t argmax(std::span<const float> row);

}  // namespace orthorank
