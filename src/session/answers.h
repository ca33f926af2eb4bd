// Greedy answers to several prompts at once: a session in which all prompts are read in one pass
// and then decoded together. What generation tasks and LongBench are scored from. One thread;
// throws the first error of a request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

struct AnswerOptions {
    Plan plan;
    size_t max_new_tokens = 0;
    // The answer ends where its text contains this; the text is not cut. Empty: nothing ends it.
    std::string stop;
    // The answer ends before this token (or at an end-of-generation token) unless it has no token
    // yet: then neither can be chosen. -1: none, and the answer may be empty.
    int32_t stop_token = -1;
};

struct Answer {
    std::vector<int32_t> tokens;  // without the one that ended it
    std::string text;             // decoded without control tokens; may end within a character
};

// One answer for each prompt. The engine needs a free sequence, or better as many as prompts, and a
// context for the longest prompt and its answer; no prompt is empty.
std::vector<Answer> greedy_answers(Engine &engine, std::span<const std::vector<int32_t>> prompts,
                                   const AnswerOptions &options);

}  // namespace orthorank
