#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace orthorank {

Sampler::Sampler(const SamplerOptions &options) : options_(options), random_(options.seed) {
    if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature)) {
        fail(ErrorKind::usage, "the temperature must be 0 or more, not {}", options.temperature);
    }
    if (options.top_k < 0) {
        fail(ErrorKind::usage, "top-k must be 0 (all tokens) or more, not {}", options.top_k);
    }
    if (!(options.top_p >= 0.0 && options.top_p <= 1.0)) {
        fail(ErrorKind::usage, "top-p must lie in 0..1, not {}", options.top_p);
    }
}

int32_t Sampler::sample(std::span<const float> logits) {
    gather(logits);
    if (candidates_.size() > 1) {
        cut_to_top_p();
    }
    return candidates_.size() == 1 ? candidates_.front().id : draw();
}

// The top-k candidates, sorted.
void Sampler::gather(std::span<const float> logits) {
    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
        if (std::isfinite(logits[i])) {
            candidates_.push_back({static_cast<int32_t>(i), logits[i]});
        }
    }
    if (candidates_.empty()) {
        fail(ErrorKind::format, "the model's logits are not numbers: its weights may be damaged");
    }
    size_t k = options_.top_k > 0 ? static_cast<size_t>(options_.top_k) : candidates_.size();
    k = options_.temperature > 0.0 ? std::min(k, candidates_.size()) : 1;
    std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                      candidates_.end(), [](const Candidate &a, const Candidate &b) {
                          return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                      });
    candidates_.resize(k);
}

// Keeps the likeliest candidates up to the first that brings their sum to top_p; at least one.
void Sampler::cut_to_top_p() {
    if (options_.top_p >= 1.0) {
        return;
    }
    const double max = candidates_.front().logit;
    double sum = 0;
    for (const Candidate &candidate : candidates_) {
        sum += std::exp(candidate.logit - max);
    }
    double kept = 0;
    size_t n = 0;
    while (n < candidates_.size() && (n == 0 || kept < options_.top_p * sum)) {
        kept += std::exp(candidates_[n].logit - max);
        ++n;
    }
    candidates_.resize(n);
}

int32_t Sampler::draw() {
    const double max = candidates_.front().logit;
    weights_.clear();
    double sum = 0;
    for (const Candidate &candidate : candidates_) {
        sum += std::exp((candidate.logit - max) / options_.temperature);
        weights_.push_back(sum);
    }
    // The standard's distributions differ between libraries; 53 bits of the generator do not.
    const double uniform = std::ldexp(static_cast<double>(random_() >> 11), -53);
    const auto chosen = std::upper_bound(weights_.begin(), weights_.end(), uniform * sum);
    const auto index =
        std::min<std::ptrdiff_t>(chosen - weights_.begin(), std::ssize(weights_) - 1);
    return candidates_[static_cast<size_t>(index)].id;
}

}  // namespace orthorank
