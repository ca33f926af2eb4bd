// Text from a prompt: one pass over the prompt, then one token after the other until the model ends
// its answer, enough tokens are made, or the context is full. Uses one sequence of the engine;
// throws Error{limit} when the prompt is longer than the context, Error{usage} when it is empty.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace orthorank {

struct GenerateOptions {
    Plan plan;
    int n_predict = 128;  // tokens at most; negative: as many as the context holds
    SamplerOptions sampler;
    // Called with each piece of text as it comes; whole UTF-8 characters only.
    std::function<void(std::string_view)> on_text;
};

enum class StopReason {
    end,      // an end-of-generation token, which is not part of the result
    length,   // n_predict tokens
    context,  // no room for another token
};

const char *stop_reason_name(StopReason reason);

struct GenerateResult {
    std::vector<int32_t> tokens;  // those generated
    std::string text;             // the same; whole UTF-8 characters only
    StopReason stop_reason = StopReason::length;
    int64_t n_prompt = 0;
    double prefill_s = 0;
    double decode_s = 0;         // sampling included
    int64_t n_decoded = 0;       // tokens run through the network one by one
    int64_t n_rows_offered = 0;  // to selecting layers, and how many they computed
    int64_t n_rows_computed = 0;
};

GenerateResult generate(Engine &engine, std::span<const int32_t> prompt,
                        const GenerateOptions &options);

// The context that a prompt and n_predict tokens need, at most n_ctx_max.
int context_for(size_t n_prompt, int n_predict, int n_ctx_max);

}  // namespace orthorank
