// A completion or a chat as a client asks for it, read into requests of a session. Pure functions
// of the body and the served model, thread-safe. Everything wrong throws ApiError 400 (404 for a
// model that is not served).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/served_model.h"
#include "session/request.h"

namespace orthorank {

struct GenerationPrompt {
    std::vector<int32_t> ids;
    std::string text;            // what echo gives back
    bool has_added_bos = false;  // the first id is BOS, which the text does not name
    size_t n_prefill = 0;        // of ids: what is one prefill under the plan
};

struct Generation {
    bool is_chat = false;
    std::string model;  // the name it was asked under
    Plan plan;
    std::vector<GenerationPrompt> prompts;
    int n = 1;  // answers to each prompt
    bool echo = false;
    bool stream = false;
    bool stream_usage = false;  // a last event with the usage alone
    bool wants_trace = false;
    bool wants_map = false;
    bool wants_log_probs = false;
    int n_top = 0;
    std::vector<Request> requests;  // n of the first prompt, n of the second, ...

    const GenerationPrompt &prompt_of(size_t choice) const {
        return prompts[choice / static_cast<size_t>(n)];
    }
};

// POST /v1/completions
Generation read_completion(const nlohmann::json &body, const ServedModel &served);
// POST /v1/chat/completions
Generation read_chat(const nlohmann::json &body, const ServedModel &served);

// The text of tokens, byte by byte what they stand for: control tokens by their names, and without
// the blank that some vocabularies put before a text.
std::string text_of(std::span<const int32_t> ids, const Vocab &vocab);
// What the token ids[i] is of it.
std::string piece_of(std::span<const int32_t> ids, size_t i, const Vocab &vocab);

// The field "messages". Contents are strings, or lists of parts of type text.
std::vector<ChatMessage> read_messages(const nlohmann::json &messages);

}  // namespace orthorank
