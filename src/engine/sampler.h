// Picks the next token from logits: the likeliest (temperature 0), or a random one of the top-k
// within the top-p of probability, drawn after the temperature was applied (the order of
// llama.cpp's default chain). Deterministic: the same seed and logits give the same tokens on any
// machine. Owned by one thread.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace orthorank {

struct SamplerOptions {
    double temperature = 0.8;  // 0: always the likeliest token
    int top_k = 40;            // 0: all
    double top_p = 0.95;       // 1: all
    uint64_t seed = 0;
};

class Sampler {
 public:
    // Throws Error{usage} for a negative temperature or top_k, or a top_p outside 0..1.
    explicit Sampler(const SamplerOptions &options);

    // Ties go to the lower id. A logit that is not a number is never picked; Error{format} when
    // there is nothing else, which only a broken model can bring about.
    int32_t sample(std::span<const float> logits);

 private:
    struct Candidate {
        int32_t id;
        float logit;
    };
    void gather(std::span<const float> logits);
    void cut_to_top_p();
    int32_t draw();

    SamplerOptions options_;
    std::mt19937_64 random_;
    std::vector<Candidate> candidates_;  // the likeliest first
    std::vector<double> weights_;
};

}  // namespace orthorank
