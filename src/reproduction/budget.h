// How much of the paper's protocol a reproduction does: windows, documents, lengths. Plain data.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/hparams.h"

namespace orthorank {

struct Budget {
    std::string name;
    // The calibration windows of all searches; 0 windows: all of the text's.
    int search_tokens = 2048;
    int n_search_windows = 0;
    bool races = false;  // searches give candidates up by a test (select-layers --race)
    // Of Tables 3 and 8, ascending; the first is search_tokens.
    std::vector<int> calibration_lengths = {2048, 4096, 8192};
    int ppl_tokens = 2048;  // in a window
    int n_ppl_windows = 0;  // 0: the protocol's
    int n_documents = 0;    // of each task with choices; 0: all
    int n_answers = 0;      // of TruthfulQA's questions; 0: all
    int n_records = 0;      // of each LongBench set; 0: all
    int prompt_tokens = 0;  // LongBench; 0: what the benchmark takes for the context
    int sweep_tokens = 2048;
    int n_sweep_windows = 0;
    int analysis_tokens = 1001;
    int speed_tokens = 2048;  // of a prompt
    int n_speed_sequences = 32;
    int n_speed_repetitions = 50;
    int n_generated = 128;     // tokens of Table 10
    int n_tradeoff_plans = 0;  // of Figure 7, at most; 0: the whole grid
};

// "quick", "standard" or "paper". Throws Error{usage} that lists them.
Budget budget_from_name(const std::string &name);

// With windows of so many tokens in searches, perplexity, sweep and throughput; calibration lengths
// are that, twice and four times that.
Budget with_tokens(Budget budget, int n_tokens);

// With nothing longer than the model's context, and each calibration length once.
Budget fitted_to(Budget budget, const Hparams &hparams);

// The windows that a search at this length reads at most: as many tokens as the main one's, one
// window at least; 0: all.
int n_search_windows(const Budget &budget, int n_tokens);

nlohmann::ordered_json budget_json(const Budget &budget);

}  // namespace orthorank
