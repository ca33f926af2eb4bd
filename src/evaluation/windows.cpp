#include "evaluation/windows.h"

#include <algorithm>

#include "base/error.h"
#include "base/statistics.h"
#include "session/log_probs.h"

namespace orthorank {

size_t add_windows(Windows &windows, std::span<const int32_t> tokens, size_t max_windows,
                   std::optional<int32_t> first) {
    CHECK(windows.n_ctx > (first ? 1 : 0));
    const size_t n_text = static_cast<size_t>(windows.n_ctx) - (first ? 1 : 0);
    size_t n = tokens.size() / n_text;
    n = max_windows > 0 ? std::min(n, max_windows) : n;
    for (size_t i = 0; i < n; ++i) {
        if (first) {
            windows.tokens.push_back(*first);
        }
        const std::span<const int32_t> text = tokens.subspan(i * n_text, n_text);
        windows.tokens.insert(windows.tokens.end(), text.begin(), text.end());
    }
    return n;
}

std::vector<float> window_log_probs(Engine &engine, Sequence &sequence,
                                    std::span<const int32_t> tokens, const WindowStart &start,
                                    const OnLogits &on_logits) {
    CHECK(tokens.size() >= 2);
    // Row i predicts token i + 1; the last row predicts nothing.
    std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
    targets.push_back(-1);
    std::vector<float> log_probs(targets.size());
    Stretch stretch;
    stretch.first = start.layer;
    stretch.n_continuation = start.n_continuation;
    stretch.inherited = start.inherited;
    stretch.tokens = tokens;
    stretch.hidden = start.hidden;
    stretch.on_logits = [&](const LogitsBlock &block) {
        const auto first = static_cast<size_t>(block.first_row);
        const auto n = static_cast<size_t>(block.n_rows);
        target_log_probs(block.logits, block.n_vocab, std::span(targets).subspan(first, n),
                         engine.n_threads(), std::span(log_probs).subspan(first, n));
        if (on_logits) {
            on_logits(block);
        }
    };
    run_stretch(engine, sequence, stretch);
    log_probs.pop_back();
    if (start.n_continuation > 0) {
        log_probs.erase(log_probs.begin(), log_probs.end() - start.n_continuation);
    }
    return log_probs;
}

double window_nll(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
                  const WindowStart &start, const OnLogits &on_logits) {
    sequence.clear();
    return -mean(window_log_probs(engine, sequence, tokens, start, on_logits));
}

}  // namespace orthorank
