#include "session/trace.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/sampler.h"
#include "model/vocab.h"

namespace orthorank {

namespace {

TraceLayer layer_of(const Sequence &sequence, int il) {
    const LayerRecord &record = sequence.record(il);
    TraceLayer layer;
    layer.index = il;
    layer.scores = record.scores;
    // What is decoded where the plan does not apply is computed, and has no score.
    const auto n = static_cast<size_t>(sequence.n_past());
    layer.scores.resize(n, std::numeric_limits<float>::quiet_NaN());
    for (size_t i = 0; i < n; ++i) {
        if (i >= record.chosen.size() || record.chosen[i] != 0) {
            layer.rows.push_back(static_cast<int32_t>(i));
        }
    }
    return layer;
}

}  // namespace

bool TraceLayer::is_computed(int32_t position) const {
    return std::binary_search(rows.begin(), rows.end(), position);
}

TraceResult trace(Engine &engine, std::span<const int32_t> prompt, const TraceOptions &options) {
    if (prompt.empty()) {
        fail(ErrorKind::usage, "the text is empty");
    }
    const Vocab &vocab = engine.model().vocab();
    // Without decoding, policies that cannot decode are welcome.
    const Apply given = options.plan.apply;
    const Apply apply = options.n_decode == 0 && given == Apply::both ? Apply::prefill : given;
    Sequence sequence = engine.new_sequence(options.plan, apply);
    Sampler greedy({.temperature = 0.0});
    TraceResult result;
    result.plan = options.plan;
    result.tokens.assign(prompt.begin(), prompt.end());
    result.n_prompt = prompt.size();
    std::vector<float> logits = forward_last(engine, sequence, prompt, Phase::prefill);
    for (int i = 0; i < options.n_decode; ++i) {
        const int32_t token = greedy.sample(logits);
        if (vocab.is_end_of_generation(token)) {
            break;
        }
        result.tokens.push_back(token);
        logits = forward_last(engine, sequence, std::span(&token, 1), Phase::decode);
    }
    for (int32_t token : result.tokens) {
        result.pieces.push_back(replace_invalid_utf8(vocab.piece(token, /*special=*/true)));
    }
    for (int il : options.plan.layers_with(Action::select)) {
        result.layers.push_back(layer_of(sequence, il));
    }
    result.n_rows_offered = sequence.n_rows_offered();
    result.n_rows_computed = sequence.n_rows_computed();
    return result;
}

}  // namespace orthorank
