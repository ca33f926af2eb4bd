// A completion or a chat as a client asks for it, read into requests of a session. Pure functions
// of the body and the served model, thread-safe. Everything wrong throws ApiError 400 (404 for a
// model that is not served).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/served_model.h"
#include "session/request.h"

namespace orthorank {

struct GenerationPrompt {
    std::vector<int32_t> ids;
    std::string text;  // what echo gives back
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

// The field "messages". Contents are strings, or lists of parts of type text.
std::vector<ChatMessage> read_messages(const nlohmann::json &messages);

}  // namespace orthorank
