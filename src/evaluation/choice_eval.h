// Log-likelihoods of multiple-choice documents under plans: what zero-shot tasks are scored from.
// Several documents share a forward call. What need not be computed twice is computed once:
// - the layers that a plan has in common with the dense model at its start, for all plans of a
// call;
// - what the choices of a document begin with: with dense and removed layers up to the logits,
//   under a selecting plan only in the layers before the first selecting one, since selection looks
//   at the whole sequence;
// - choices of which the model reads the same, since they differ in the last token only.
// Results are those of running every choice alone, up to the rounding of other shapes; which plans
// share a call changes nothing. One thread; throws what Engine::forward throws.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "eval/scoring_input.h"
#include "evaluation/choice_batch.h"

namespace orthorank {

struct ChoiceEvalOptions {
    // Documents share a call while they have at most this many rows, common ones counted once (the
    // engine's sequences are the other bound); one document is never parted.
    size_t batch_rows = 512;
    // false: every choice is run alone, from its tokens to its logits.
    bool shares_context = true;
    GraphWatch *watch = nullptr;  // sees the graphs (graph/graph_watch.h)
};

// How documents go together: index of the first document of each batch, and the number of
// documents at the end. Depends on the documents and options only, not on plans. Throws
// Error{limit} when a document has more choices than there are sequences.
std::vector<size_t> choice_batches(std::span<const DocumentInputs> documents, int n_sequences,
                                   const ChoiceEvalOptions &options = {});

// By document and choice: the summed log-probability of its targets.
using LogLikelihoods = std::vector<std::vector<double>>;

// Those of each plan, for all documents in one call. The engine needs as many free sequences as
// there are choices in all, and a context as long as the longest input.
std::vector<LogLikelihoods> choice_log_likelihoods(Engine &engine, std::span<const Plan> plans,
                                                   std::span<const DocumentInputs> documents,
                                                   const ChoiceEvalOptions &options = {});

// The tokens that the longest input has, and the most choices that a document has.
size_t longest_input(std::span<const DocumentInputs> documents);
size_t most_choices(std::span<const DocumentInputs> documents);

}  // namespace orthorank
