// The file of single results that `eval --samples` keeps: one JSON line for each document and plan.
// It is what an interrupted run resumes from. Pure functions, thread-safe; reading throws Error as
// in records.h.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/bleu.h"
#include "eval/scoring.h"

namespace orthorank {

struct Sample {
    std::string task;
    size_t doc = 0;    // index in the data set's file
    std::string plan;  // the arm: "dense" or a plan's name
    // A task with choices: one log-likelihood for each; the choices by index.
    std::vector<double> log_likelihoods;
    size_t gold = 0;
    size_t predicted = 0;
    size_t predicted_norm = 0;
    // A generation task: the answer as scored, and its scores. log_likelihoods is empty then.
    std::string completion;
    BleuScores bleu;
};

Sample make_choice_sample(const std::string &task, const std::string &plan,
                          const ChoiceDocument &document,
                          const std::vector<double> &log_likelihoods);

// {"task", "doc", "plan", "ll": [...], "gold", "pred", "pred_norm"}, or for a generation task
// {"task", "doc", "plan", "text", "bleu_max", "bleu_acc", "bleu_diff"}; no line end. A
// log-likelihood that is not finite is null. Numbers read back are equal to the bit.
std::string sample_line(const Sample &sample);

// Those of a file's lines; `path` is for messages.
std::vector<Sample> samples_in(std::string_view lines, const std::string &path);

}  // namespace orthorank
