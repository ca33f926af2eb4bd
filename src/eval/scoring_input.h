// From a (context, continuation) pair to the token ids that a model is given and the ids whose
// log-probabilities are summed, as lm-evaluation-harness 0.4 does for causal models. Thread-safe as
// far as the given tokenizer is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "eval/documents.h"

namespace orthorank {

// Token ids of a text, without special tokens where a pair is scored.
using Tokenize = std::function<std::vector<int32_t>(const std::string &)>;

// The whitespace at the end of the context moved to the front of the continuation.
TextPair move_trailing_space(const TextPair &pair);

struct ScoringInput {
    std::vector<int32_t> ids;      // what the model reads
    std::vector<int32_t> targets;  // the continuation's ids; never empty
    size_t n_cut = 0;              // ids cut off at the left because the whole was too long

    // targets[k] is predicted by the logits at ids[first_row() + k].
    size_t first_row() const { return ids.size() - targets.size(); }
};

// Encodes the whole text and the context on their own; the continuation is what the whole has
// beyond the context's *number* of ids, even where a merge crosses the border, and it is put behind
// the ids of the context alone. Keeps the last max_length + 1 ids and gives all but the last of
// them to the model. An empty context becomes the
// one id `empty_context` (the model's end-of-text or BOS id). Throws Error: limit when the
// continuation alone is longer than max_length; format when the continuation has no ids, or the
// context is empty and no id was given for that.
ScoringInput make_scoring_input(const TextPair &pair, const Tokenize &tokenize, size_t max_length,
                                std::optional<int32_t> empty_context = std::nullopt);

// How many leading ids the inputs of one document have in common: what may be computed once.
size_t n_common_ids(const std::vector<ScoringInput> &inputs);

}  // namespace orthorank
