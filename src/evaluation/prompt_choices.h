// Choices under a plan for prompts: the context is a prompt under the plan, the choice's tokens are
// its continuation, computed in every layer, as tokens are that a session decodes.
#pragma once

#include "evaluation/choice_batch.h"
#include "evaluation/choice_eval.h"

namespace orthorank {

// As choice_log_likelihoods() for one plan whose `apply` is prefill. Choices with the same context
// share it if the batch shares. Needs a sequence for each choice.
LogLikelihoods prompt_choice_log_likelihoods(Engine &engine, const Plan &plan,
                                             const ChoiceBatch &batch, GraphWatch *watch);

}  // namespace orthorank
