#include "engine/sampler.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace orthorank {

namespace {

struct SamplerDeleter {
    void operator()(llama_sampler *sampler) const { llama_sampler_free(sampler); }
};
using SamplerPtr = std::unique_ptr<llama_sampler, SamplerDeleter>;

void check_range(const char *name, double value, double low, double high, const char *range) {
    if (!(value >= low && value <= high)) {
        fail(ErrorKind::usage, "the {} must be {}, not {}", name, range, value);
    }
}

void check_options(const SamplerOptions &o) {
    constexpr double k_any = 1e30;  // far inside what F32 holds
    check_range("temperature", o.temperature, 0, k_any, "0 or more");
    check_range("top-k", o.top_k, 0, k_any, "0 (all tokens) or more");
    check_range("top-p", o.top_p, 0, 1, "in 0..1");
    check_range("min-p", o.min_p, 0, 1, "in 0..1");
    check_range("repeat penalty", o.repeat_penalty, 1e-3, 1e3, "in 0.001..1000 (1: none)");
    check_range("presence penalty", o.presence_penalty, -100, 100, "in -100..100");
    check_range("frequency penalty", o.frequency_penalty, -100, 100, "in -100..100");
    check_range("number of penalised tokens", o.penalty_last_n, 0, 1 << 20, "in 0..1048576");
    check_range("seed", o.seed, 0, k_seed_end - 1.0, "below 4294967295");
}

bool has_penalties(const SamplerOptions &o) {
    return o.penalty_last_n > 0 &&
           (o.repeat_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0);
}

SamplerPtr make_chain(const SamplerOptions &o) {
    SamplerPtr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    for (llama_sampler *sampler : {llama_sampler_init_top_p(static_cast<float>(o.top_p), 1),
                                   llama_sampler_init_min_p(static_cast<float>(o.min_p), 1),
                                   llama_sampler_init_temp(static_cast<float>(o.temperature)),
                                   llama_sampler_init_dist(o.seed)}) {
        llama_sampler_chain_add(chain.get(), sampler);
    }
    return chain;
}

}  // namespace

struct Sampler::Impl {
    SamplerOptions options;
    SamplerPtr penalties;  // null: none
    SamplerPtr chain;      // null: greedy
    std::vector<llama_token_data> candidates;

    // All tokens whose logits are numbers, penalised.
    void gather(std::span<const float> logits) {
        candidates.clear();
        for (size_t i = 0; i < logits.size(); ++i) {
            if (std::isfinite(logits[i])) {
                candidates.push_back({static_cast<int32_t>(i), logits[i], 0});
            }
        }
        if (candidates.empty()) {
            fail(ErrorKind::format,
                 "the model's logits are not numbers: its weights may be damaged");
        }
        if (penalties) {
            llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
            llama_sampler_apply(penalties.get(), &array);
        }
    }

    // Leaves the k likeliest, sorted; the likeliest gets the logit 0 and no quotient overflows.
    void keep_likeliest(size_t k) {
        k = std::min(k, candidates.size());
        std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k),
                          candidates.end(),
                          [](const llama_token_data &a, const llama_token_data &b) {
                              return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                          });
        candidates.resize(k);
        const float highest = candidates.front().logit;
        for (llama_token_data &candidate : candidates) {
            candidate.logit -= highest;
        }
    }

    int32_t pick() {
        if (!chain) {
            return candidates.front().id;
        }
        llama_token_data_array array = {candidates.data(), candidates.size(), -1, true};
        llama_sampler_apply(chain.get(), &array);
        CHECK(array.selected >= 0 && static_cast<size_t>(array.selected) < array.size);
        return array.data[array.selected].id;
    }
};

Sampler::Sampler(const SamplerOptions &options) : impl_(std::make_unique<Impl>()) {
    check_options(options);
    impl_->options = options;
    if (has_penalties(options)) {
        // The size of the vocabulary is for samplers that run on a device.
        impl_->penalties.reset(llama_sampler_init_penalties(
            /*n_vocab=*/0, options.penalty_last_n, static_cast<float>(options.repeat_penalty),
            static_cast<float>(options.frequency_penalty),
            static_cast<float>(options.presence_penalty)));
    }
    if (options.temperature > 0) {
        impl_->chain = make_chain(options);
    }
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler &&) noexcept = default;
Sampler &Sampler::operator=(Sampler &&) noexcept = default;

int32_t Sampler::sample(std::span<const float> logits) {
    Impl &s = *impl_;
    s.gather(logits);
    const size_t n_kept = !s.chain              ? 1
                          : s.options.top_k > 0 ? static_cast<size_t>(s.options.top_k)
                                                : s.candidates.size();
    s.keep_likeliest(n_kept);
    const int32_t token = s.pick();
    if (s.penalties) {
        llama_sampler_accept(s.penalties.get(), token);
    }
    return token;
}

}  // namespace orthorank
