// What a model gives on whatever devices it is: to compare one device, or several, with the CPU.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "support/engine_runs.h"

namespace orthorank::test {

// What a sequence gave: the logits of a prompt and of single steps behind it.
struct Given {
    Logits prompt;
    Logits steps;
    std::vector<LayerRecord> records;  // by layer
};

// A prompt of 90 random tokens and four steps; apply: where the plan counts.
Given run_all(const Model &model, const Plan &plan, const EngineOptions &options, Apply apply,
              uint64_t seed = 1);

// Of the texts of some seeds that one in which scores of chosen rows are farthest from those of
// others (by the layer's scores), and what the model gives on it: what rounds otherwise chooses the
// same rows there.
struct ClearText {
    uint64_t seed = 1;
    Given given;
};
ClearText clearest_text(const Model &model, const Plan &plan, const EngineOptions &options,
                        Apply apply);

// Logits below this NMSE, and the same scores and choices but for near ties.
void expect_same(const Given &found, const Given &expected, double limit,
                 double score_tolerance = 1e-4);

// The logits of all rows of a sequence that is taken up from hidden states before this layer.
Logits run_from(Engine &engine, Sequence &sequence, std::span<const float> hidden, int layer);

// The logits of all rows of 60 random tokens: of a pass through all layers, and of one that is
// taken up before this layer from the first one's hidden states.
struct StoppedRun {
    Logits straight;
    Logits resumed;
};
StoppedRun stop_and_go_on(const Model &model, const EngineOptions &options, const Plan &plan,
                          int layer);

// Selecting in the second and the last layer, with random corrections and, if need be, probes.
Plan selecting_plan(const Model &model, const std::string &policy);
// The same for policies that stand for themselves alone or for another one's rows ("inherit"), and
// where they can be applied.
struct PolicyRun {
    Plan plan;
    Apply apply = Apply::both;
};
PolicyRun policy_run(const Model &model, const std::string &policy);

// Ragged prompts in one call, then steps together, then a prompt beside steps, then a fork: the
// logits of all.
std::vector<Logits> run_together(const Model &model);

}  // namespace orthorank::test
