// Runs the pass key task (evaluation/passkey.h) under several plans: prompts of given lengths with
// the key at given depths, answered greedily; an answer is right if its first number is the key. A
// plan sees the prompts that the others see. One thread; throws what greedy_answers() throws,
// Error{limit} for a text that is too short.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "eval/scoring.h"

namespace orthorank {

struct PasskeyOptions {
    std::vector<int> lengths = {1024, 2048};                 // tokens of a prompt
    std::vector<double> depths = {0.1, 0.3, 0.5, 0.7, 0.9};  // 0: the beginning of the text
    int n_each = 20;                                         // prompts of a length and depth
    uint64_t seed = 0;
    std::function<void(size_t n_done, size_t n_all)> on_progress;
};

// One plan at one length.
struct PasskeyResult {
    size_t plan = 0;
    int length = 0;
    std::vector<double> values;  // by depth, then prompt: 1 for a right answer, else 0
    Estimate value;              // their mean
    Estimate difference;         // mean of value - the first plan's
    std::vector<Estimate> by_depth;
};

// The tokens of an answer that are generated at most.
constexpr int k_passkey_answer = 12;

// text: what the prompts are filled with, encoded; each takes a stretch of its own. Results by
// length, then plan. The engine needs one sequence of the longest prompt and k_passkey_answer.
std::vector<PasskeyResult> run_passkey(Engine &engine, std::span<const int32_t> text,
                                       std::span<const Plan> plans, const PasskeyOptions &options);

}  // namespace orthorank
