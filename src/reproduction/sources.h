// The texts and documents of a reproduction, read before any work: what is not there is named and
// left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analysis/figures.h"
#include "calibration/calibration.h"
#include "evaluation/evaluate.h"
#include "evaluation/longbench_run.h"
#include "evaluation/text_sets.h"
#include "model/model.h"
#include "reproduction/budget.h"
#include "reproduction/needs.h"

namespace orthorank {

struct Sources {
    std::string data_dir;
    std::map<int, Calibration> calibration;  // by tokens in a window
    std::string calibration_file;
    std::optional<TextSet> c4;
    std::optional<Windows> sweep;        // of WikiText-2's test split
    std::string wikitext_file;           // empty: not there
    std::vector<int32_t> analysis_text;  // its first tokens, without line ends
    std::vector<EvalTask> choices;       // of the five tasks
    std::vector<EvalTask> truthful;
    std::vector<LongBenchTask> longbench;
    size_t longbench_length = 0;       // tokens of a prompt
    std::vector<std::string> missing;  // one line each: what is not there, and where it was sought
};

// What the needs ask for. Throws Error{file} when the folder is missing, Error{limit} for a text
// with not one window, or with fewer than were asked for by `asked_windows` (0: nothing), and for
// what is there but damaged whatever its reader throws.
Sources read_sources(const std::string &data_dir, const Budget &budget, const Needs &needs,
                     const Model &model, int asked_windows);

// The hash of the tokens of some windows.
std::string hash_of(const Windows &windows);

}  // namespace orthorank
