#include "session/trace.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "model/vocab.h"
#include "session/session.h"

namespace orthorank {

namespace {

// n: tokens that were run.
TraceLayer layer_of(const LayerRecord &record, int il, size_t n) {
    TraceLayer layer;
    layer.index = il;
    layer.scores = record.scores;
    // What is decoded where the plan does not apply is computed, and has no score.
    layer.scores.resize(n, std::numeric_limits<float>::quiet_NaN());
    for (size_t i = 0; i < n; ++i) {
        if (i >= record.chosen.size() || record.chosen[i] != 0) {
            layer.rows.push_back(static_cast<int32_t>(i));
        }
    }
    return layer;
}

nlohmann::ordered_json layer_json(const TraceLayer &layer, const Plan &plan) {
    const LayerPlan &layer_plan = plan.layers[static_cast<size_t>(layer.index)];
    nlohmann::ordered_json scores = layer.scores;
    if (!scores.empty()) {
        scores.front() = nullptr;  // the sink's is no number
    }
    return {{"index", layer.index},
            {"policy", policy_name(layer_plan.policy)},
            {"ratio", layer_plan.ratio},
            {"scores", scores},
            {"rows", layer.rows}};
}

}  // namespace

bool TraceLayer::is_computed(int32_t position) const {
    return std::binary_search(rows.begin(), rows.end(), position);
}

TraceResult trace(Engine &engine, std::span<const int32_t> prompt, const TraceOptions &options) {
    if (prompt.empty()) {
        fail(ErrorKind::usage, "the text is empty");
    }
    Request request;
    request.plan = options.plan;
    // Without decoding, policies that cannot decode are welcome.
    if (options.n_decode == 0 && options.plan.apply == Apply::both) {
        request.plan.apply = Apply::prefill;
    }
    request.tokens.assign(prompt.begin(), prompt.end());
    // A last token is not run through the network: one more, for the one before it to be run.
    request.max_new_tokens = options.n_decode == 0 ? 0 : options.n_decode + 1;
    request.sampler.temperature = 0;
    request.wants_text = false;
    request.wants_records = true;
    int n_decoded = 0;
    const RequestResult run = run_request(
        engine, std::move(request),
        [&](const Event &event) { n_decoded += event.kind == Event::Kind::token ? 1 : 0; },
        [&] {
            if (options.on_step) {
                options.on_step(n_decoded);
            }
        });
    return trace_of(engine.model().vocab(), options.plan, prompt, run);
}

TraceResult trace_of(const Vocab &vocab, const Plan &plan, std::span<const int32_t> prompt,
                     const RequestResult &run) {
    TraceResult result;
    result.plan = plan;
    result.tokens.assign(prompt.begin(), prompt.end());
    result.n_prompt = prompt.size();
    result.tokens.insert(result.tokens.end(), run.tokens.begin(),
                         run.tokens.begin() + run.n_decoded);
    for (int32_t token : result.tokens) {
        result.pieces.push_back(replace_invalid_utf8(vocab.piece(token, /*special=*/true)));
    }
    for (int il : plan.layers_with(Action::select)) {
        result.layers.push_back(
            layer_of(run.records[static_cast<size_t>(il)], il, result.tokens.size()));
    }
    result.n_rows_offered = run.n_rows_offered;
    result.n_rows_computed = run.n_rows_computed;
    return result;
}

nlohmann::ordered_json trace_json(const TraceResult &result) {
    nlohmann::ordered_json layers = nlohmann::ordered_json::array();
    for (const TraceLayer &layer : result.layers) {
        layers.push_back(layer_json(layer, result.plan));
    }
    return {{"tokens", result.tokens}, {"pieces", result.pieces}, {"layers", layers}};
}

}  // namespace orthorank
