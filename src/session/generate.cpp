#include "session/generate.h"

#include <algorithm>

#include "base/error.h"
#include "base/stopwatch.h"
#include "base/utf8.h"
#include "model/vocab.h"

namespace orthorank {

const char *stop_reason_name(StopReason reason) {
    switch (reason) {
        case StopReason::end:
            return "end";
        case StopReason::length:
            return "length";
        case StopReason::context:
            return "context";
    }
    return "";
}

int context_for(size_t n_prompt, int n_predict, int n_ctx_max) {
    if (n_predict < 0) {
        return n_ctx_max;
    }
    // The last token is not run through the network.
    const size_t n = n_prompt + static_cast<size_t>(std::max(n_predict, 1)) - 1;
    return static_cast<int>(std::min(std::max<size_t>(n, 1), static_cast<size_t>(n_ctx_max)));
}

GenerateResult generate(Engine &engine, std::span<const int32_t> prompt,
                        const GenerateOptions &options) {
    if (prompt.empty()) {
        fail(ErrorKind::usage, "the prompt is empty");
    }
    const auto n_ctx = static_cast<size_t>(engine.n_ctx());
    if (prompt.size() > n_ctx) {
        fail(ErrorKind::limit, "the prompt has {} tokens, the context only {}: shorten it{}",
             prompt.size(), n_ctx,
             engine.n_ctx() < engine.model().hparams().n_ctx_train ? " or raise --ctx" : "");
    }
    const Vocab &vocab = engine.model().vocab();
    Sampler sampler(options.sampler);
    Sequence sequence = engine.new_sequence(options.plan);
    Utf8Buffer characters;
    GenerateResult result;
    result.n_prompt = static_cast<int64_t>(prompt.size());

    Stopwatch watch;
    std::vector<float> logits = forward_last(engine, sequence, prompt, Phase::prefill);
    result.prefill_s = watch.elapsed_s();
    watch.restart();
    const auto n_wanted = options.n_predict < 0 ? SIZE_MAX : static_cast<size_t>(options.n_predict);
    while (result.tokens.size() < n_wanted) {
        const int32_t token = sampler.sample(logits);
        if (vocab.is_end_of_generation(token)) {
            result.stop_reason = StopReason::end;
            break;
        }
        result.tokens.push_back(token);
        const std::string text = characters.push(vocab.piece(token));
        result.text += text;
        if (options.on_text && !text.empty()) {
            options.on_text(text);
        }
        if (result.tokens.size() == n_wanted) {
            break;
        }
        if (sequence.n_past() == engine.n_ctx()) {
            result.stop_reason = StopReason::context;
            break;
        }
        logits = forward_last(engine, sequence, std::span(&token, 1), Phase::decode);
        ++result.n_decoded;
    }
    result.decode_s = watch.elapsed_s();
    result.n_rows_offered = sequence.n_rows_offered();
    result.n_rows_computed = sequence.n_rows_computed();
    return result;
}

}  // namespace orthorank
