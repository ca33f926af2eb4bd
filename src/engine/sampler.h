// Picks the next token from logits by libllama's chain of samplers: the likeliest (temperature 0),
// or one drawn at random. In this order: penalties for tokens picked before; the likeliest top_k;
// of these the likeliest that together have top_p; of these all with at least min_p of the first's
// probability; the temperature; the draw. The same seed and logits give the same tokens: the
// candidates are sorted here, equal logits by their id, so nothing is left to the way that a
// library sorts. Owned by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace orthorank {

struct SamplerOptions {
    double temperature = 0.8;  // 0: always the likeliest token
    int top_k = 40;            // 0: all
    double top_p = 0.95;       // 1: all
    double min_p = 0;          // 0: all
    // Of the tokens that this sampler picked, the last penalty_last_n are made less likely:
    // positive logits are divided by repeat_penalty and others multiplied; then presence_penalty
    // and frequency_penalty times their number are taken off.
    double repeat_penalty = 1;     // 1: none
    double presence_penalty = 0;   // 0: none
    double frequency_penalty = 0;  // 0: none
    int penalty_last_n = 64;       // 0: none
    uint32_t seed = 0;             // below k_seed_end
};

// libllama takes its last seed for "any".
constexpr uint32_t k_seed_end = 0xffffffff;

class Sampler {
 public:
    // Throws Error{usage} for values outside their ranges.
    explicit Sampler(const SamplerOptions &options);
    ~Sampler();
    Sampler(Sampler &&) noexcept;
    Sampler &operator=(Sampler &&) noexcept;

    // Ties go to the lower id. A logit that is not a number is never picked; Error{format} when
    // there is nothing else, which only a broken model can bring about.
    int32_t sample(std::span<const float> logits);

 private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace orthorank
