#include "session/generate.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace orthorank {

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
    const auto n_ctx = static_cast<size_t>(engine.n_ctx());
    if (prompt.size() > n_ctx) {
        fail(ErrorKind::limit, "the prompt has {} tokens, the context only {}: shorten it{}",
             prompt.size(), n_ctx,
             engine.n_ctx() < engine.model().hparams().n_ctx_train ? " or raise --ctx" : "");
    }
    Request request;
    request.plan = options.plan;
    request.tokens.assign(prompt.begin(), prompt.end());
    request.max_new_tokens = options.n_predict < 0 ? -1 : options.n_predict;
    request.sampler = options.sampler;
    return {run_request(
                engine, std::move(request),
                [&](const Event &event) {
                    if (options.on_text && !event.text.empty()) {
                        options.on_text(event.text);
                    }
                },
                options.on_step),
            static_cast<int64_t>(prompt.size())};
}

}  // namespace orthorank
