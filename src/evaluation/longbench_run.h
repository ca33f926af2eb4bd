// LongBench under several plans: prompts encoded with the middle cut out, greedy answers one by one
// (the plans take turns on each record), and the files of predictions that the benchmark's own
// eval.py reads, which an interrupted run goes on with. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/longbench.h"
#include "model/vocab.h"

namespace orthorank {

struct LongBenchOptions {
    std::string data_dir;
    size_t max_length = 0;        // tokens of a prompt; see default_max_length
    std::optional<size_t> limit;  // the first so many records of each set
    bool cleans_spaces = false;   // the tokenizer's clean_up_tokenization_spaces
};

// The benchmark's own numbers for contexts of 4k to 32k: 3500, 7500, 15500, 31500. Throws
// Error{usage} for a context that leaves nothing.
size_t default_max_length(int n_ctx);

// A set's records and what the model reads for each.
struct LongBenchTask {
    const LongBenchSet *set = nullptr;
    LongBenchData data;
    std::vector<std::vector<int32_t>> prompts;
    size_t n_cut = 0;  // prompts whose middle was cut out
};

// Throws what read_longbench throws, Error{limit} when prompt and answer do not fit into n_ctx.
LongBenchTask read_longbench_task(const LongBenchSet &set, const LongBenchOptions &options,
                                  const Vocab &vocab, int n_ctx);
// Tokens that a sequence needs for all of them.
int longbench_context(std::span<const LongBenchTask> tasks);

// OUTPUT/PLAN/SET.jsonl; the plan's name without ".json", "/" as "_".
std::string prediction_path(const std::string &output_dir, const Plan &plan,
                            const LongBenchSet &set);

// Makes the folder that prediction_path names. Throws Error{file}.
void make_prediction_folder(const std::string &output_dir, const Plan &plan);

struct LongBenchRun {
    std::string output_dir;
    nlohmann::ordered_json
        run;  // what predictions depend on beside the plan (evaluation/line_log.h)
    bool cleans_spaces = false;
    std::function<void(size_t n_done, size_t n_all, std::string_view set)> on_progress;
};

// Predictions of task t under plan p at [t * plans.size() + p], also written to prediction_path;
// those that are there are not made again. Throws what LineLog throws.
std::vector<std::vector<Prediction>> run_longbench(Engine &engine,
                                                   std::span<const LongBenchTask> tasks,
                                                   std::span<const Plan> plans,
                                                   const LongBenchRun &run);

}  // namespace orthorank
