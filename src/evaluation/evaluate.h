// Evaluation tasks under several plans on the same documents: reads and encodes the documents,
// runs them batch by batch (a batch under all plans before the next one), keeps a sample for each
// document and plan, and makes means, errors and paired differences of them (docs/evaluation.md).
// Batches depend on the documents only, so that a resumed run gives the same bits. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/documents.h"
#include "eval/scoring.h"
#include "evaluation/choice_eval.h"
#include "evaluation/sample_log.h"
#include "model/vocab.h"

namespace orthorank {

// A task's chosen documents, encoded: choices, or questions to answer.
struct EvalTask {
    std::string name;
    Metric metric = Metric::acc;
    std::vector<std::string> files;
    std::string hash;  // of the chosen documents: texts, right answers, ids
    std::vector<ChoiceDocument> documents;
    std::vector<DocumentInputs> inputs;  // of each of them
    std::vector<GenerationDocument> questions;
    std::vector<std::vector<int32_t>> prompts;  // of each of them
    size_t max_new_tokens = 0;
    std::string stop;

    bool is_generation() const { return !questions.empty(); }
    size_t size() const { return is_generation() ? questions.size() : documents.size(); }
    size_t doc(size_t i) const { return is_generation() ? questions[i].index : documents[i].index; }
};

struct TaskSelection {
    std::string data_dir;
    std::string docs;             // "3,17,20-25", empty: all
    std::optional<size_t> limit;  // at most the first so many of them
};

// Reads and encodes a task. Throws what read_choice_task and chosen_documents throw, and
// Error{limit} naming a document that is longer than max_length tokens (its answer counted).
EvalTask read_eval_task(const std::string &name, const TaskSelection &selection, const Vocab &vocab,
                        size_t max_length);

// What an engine needs for all of them: tokens per sequence, and sequences when `n_parallel` are
// wanted.
int eval_context(std::span<const EvalTask> tasks);
int eval_sequences(std::span<const EvalTask> tasks, int n_parallel);

// Whether a plan's keep_last means nothing to a task: where every row is scored, none is more a
// prompt's last one than another. An answer is written behind a prompt.
bool ignores_kept_rows(const EvalTask &task, const Plan &plan);

struct EvalOptions {
    ChoiceEvalOptions choices;
    size_t n_parallel = 16;  // sequences at once
    // After each batch: samples there, samples wanted, the task at work.
    std::function<void(size_t n_done, size_t n_all, const std::string &task)> on_progress;
};

// What one task gave under one plan.
struct EvalScore {
    size_t task = 0;
    size_t plan = 0;
    std::vector<double> values;  // of the task's metric, by document
    Estimate value;              // their mean
    Estimate difference;         // mean of value - the first plan's
    // Further numbers of the same samples: acc and acc_norm, or bleu_acc and bleu_diff.
    std::vector<std::pair<std::string, Estimate>> others;
};

// Scores of task t under plan p are at [t * plans.size() + p]. Samples that the log has are not run
// again. Throws Error{format} when the log's samples are of other documents.
std::vector<EvalScore> evaluate(Engine &engine, std::span<const EvalTask> tasks,
                                std::span<const Plan> plans, SampleLog &log,
                                const EvalOptions &options = {});

// The mean of the five tasks for each plan, and of the differences to the first plan; empty when
// not all five are there.
struct FiveTaskMean {
    Estimate value;
    Estimate difference;
};
std::vector<FiveTaskMean> five_task_means(std::span<const EvalTask> tasks, size_t n_plans,
                                          std::span<const EvalScore> scores);

}  // namespace orthorank
