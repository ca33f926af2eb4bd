// Log-probabilities as OpenAI's two shapes have them: columns for completions, a list of objects
// for chats. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "model/vocab.h"
#include "session/request.h"

namespace orthorank {

struct ListedToken {
    int32_t id = 0;
    const TokenLogProb *log_prob = nullptr;  // null: nothing comes before it
    size_t text_offset = 0;                  // in characters of the choice's text
};

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}. In top_logprobs the likeliest and
// the token itself, by their texts; of tokens with one text the likeliest has it.
nlohmann::ordered_json completion_log_probs(std::span<const ListedToken> tokens,
                                            const Vocab &vocab);

// {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}
nlohmann::ordered_json chat_log_probs(std::span<const ListedToken> tokens, const Vocab &vocab);

}  // namespace orthorank
