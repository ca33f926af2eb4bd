// Log-likelihoods of multiple-choice documents under a plan: what zero-shot tasks are scored from.
// Several documents share a forward call; the choices of one document share what they begin with,
// as far as that is exact: with dense and removed layers the common tokens are computed once, under
// a selecting plan only in the layers before the first selecting one, since selection looks at the
// whole sequence. Results are those of running every choice alone, up to the rounding of other
// shapes. One thread; throws what Engine::forward throws.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "eval/scoring_input.h"

namespace orthorank {

// One document: what the model reads for each of its choices (make_scoring_input).
using DocumentInputs = std::vector<ScoringInput>;

struct ChoiceEvalOptions {
    // Documents share a call while they have at most this many rows, common ones counted once (the
    // engine's sequences are the other bound); one document is never parted.
    size_t batch_rows = 512;
    bool shares_context = true;
};

// How documents go together: index of the first document of each batch, and the number of
// documents at the end. Depends on the documents and options only, not on plans. Throws
// Error{limit} when a document has more choices than there are sequences.
std::vector<size_t> choice_batches(std::span<const DocumentInputs> documents, int n_sequences,
                                   const ChoiceEvalOptions &options = {});

// For each document the summed log-probability of each choice's targets, for all documents in one
// call. The engine needs as many free sequences as there are choices in all, and a context as long
// as the longest input.
std::vector<std::vector<double>> choice_log_likelihoods(Engine &engine, const Plan &plan,
                                                        std::span<const DocumentInputs> documents,
                                                        const ChoiceEvalOptions &options = {});

// The tokens that the longest input has, and the most choices that a document has.
size_t longest_input(std::span<const DocumentInputs> documents);
size_t most_choices(std::span<const DocumentInputs> documents);

}  // namespace orthorank
