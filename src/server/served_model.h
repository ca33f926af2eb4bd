// What requests are read against and answered from: the model's vocabulary, the plans, the limits.
// Immutable, thread-safe; borrows model and plans.
#pragma once

#include <cstdint>
#include <ctime>

#include "model/model.h"
#include "model/vocab.h"
#include "server/plan_table.h"

namespace orthorank {

// Limits of one request; what is beyond them is answered with 400.
constexpr int k_max_choices = 128;         // prompts times n
constexpr int k_max_top = 20;              // likeliest tokens beside each log-probability
constexpr size_t k_max_map_tokens = 1024;  // that a map of an answer shows, about 4 KB for each
constexpr size_t k_max_stop_strings = 16;  // each of at most so many bytes
constexpr size_t k_max_stop_bytes = 1024;

struct ServedModel {
    const Model &model;
    const PlanTable &plans;
    int n_ctx = 0;            // tokens of a prompt and its answer
    std::time_t created = 0;  // when the server began

    const Vocab &vocab() const { return model.vocab(); }
    int n_vocab() const { return model.hparams().n_vocab; }
};

// Throws ApiError 400 with "n_prompt_tokens" and "n_ctx" when a prompt of so many tokens does not
// fit. is_at_least: it has so many or more.
void check_prompt_length(size_t n_prompt_tokens, int n_ctx, bool is_at_least = false);

// A text's tokens as the commands make them: BOS if the model's texts begin with it (add_bos),
// names of control tokens are those. Refuses what cannot fit before it is tokenized.
std::vector<int32_t> prompt_ids(const ServedModel &served, const std::string &text, bool add_bos);

// The text of one token by itself; where it is no UTF-8, "bytes:\xe2\x80".
std::string token_text(const Vocab &vocab, int32_t token);

}  // namespace orthorank
