// What the selecting layers of a plan did with a text: every row's score and which rows were
// computed, for the prefill of its first tokens and, if wanted, for greedily decoded ones.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "session/session.h"

namespace orthorank {

struct TraceOptions {
    Plan plan;
    int n_decode = 0;  // tokens decoded greedily after the prefill, or fewer if the text ends
    // Called after each graph of a long prompt and each token, with how many tokens were decoded;
    // what it throws ends the work.
    std::function<void(int n_decoded)> on_step;
};

// One selecting layer, by position.
struct TraceLayer {
    int index = 0;
    std::vector<float> scores;  // the sink's, scores[0], means nothing
    std::vector<int32_t> rows;  // computed, ascending

    bool is_computed(int32_t position) const;
};

struct TraceResult {
    Plan plan;
    std::vector<int32_t> tokens;      // run through the network: the prompt, then the decoded ones
    std::vector<std::string> pieces;  // their text, as far as each alone is UTF-8
    size_t n_prompt = 0;
    std::vector<TraceLayer> layers;  // selecting ones, ascending
    int64_t n_rows_offered = 0;
    int64_t n_rows_computed = 0;
};

// The engine needs one free sequence and a context for the prompt and n_decode tokens. Throws
// Error{usage} when the prompt is empty.
TraceResult trace(Engine &engine, std::span<const int32_t> prompt, const TraceOptions &options);

// The same of a request that was run with wants_records. Its n_prompt is the whole prompt: of a
// request with a border in it (Request::n_prompt) the caller sets that.
TraceResult trace_of(const Vocab &vocab, const Plan &plan, std::span<const int32_t> prompt,
                     const RequestResult &run);

// "tokens", "pieces" and "layers": of each "index", "policy", "ratio", "scores" (null: none) and
// "rows".
nlohmann::ordered_json trace_json(const TraceResult &result);

}  // namespace orthorank
