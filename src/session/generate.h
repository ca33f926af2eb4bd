// Text from a prompt: a session of one request, until the model ends its answer, enough tokens are
// made, or the context is full. Uses one sequence of the engine; throws Error{limit} when the
// prompt is longer than the context, Error{usage} when it is empty.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "session/session.h"

namespace orthorank {

struct GenerateOptions {
    Plan plan;
    int n_predict = 128;  // tokens at most; negative: as many as the context holds
    SamplerOptions sampler;
    // Called with each piece of text as it comes; whole UTF-8 characters only.
    std::function<void(std::string_view)> on_text;
    // Called after each graph of a long prompt and each token; what it throws ends the work.
    std::function<void()> on_step;
};

struct GenerateResult : RequestResult {
    int64_t n_prompt = 0;
};

GenerateResult generate(Engine &engine, std::span<const int32_t> prompt,
                        const GenerateOptions &options);

// The context that a prompt and n_predict tokens need, at most n_ctx_max.
int context_for(size_t n_prompt, int n_predict, int n_ctx_max);

}  // namespace orthorank
