// Questions about the model that no engine is needed for: vLLM's shapes, llama.cpp's names too.
// Pure functions of the body and the served model, thread-safe; they throw ApiError.
#pragma once

#include <nlohmann/json.hpp>

#include "server/served_model.h"

namespace orthorank {

// GET /v1/models
nlohmann::ordered_json models_json(const ServedModel &served);
// GET /tokenizer_info
nlohmann::ordered_json tokenizer_info(const ServedModel &served);
// POST /tokenize {"prompt" | "content" | "messages", "add_special_tokens" | "add_special"}
nlohmann::ordered_json tokenize(const nlohmann::json &body, const ServedModel &served);
// POST /detokenize {"tokens"}
nlohmann::ordered_json detokenize(const nlohmann::json &body, const ServedModel &served);

}  // namespace orthorank
