#include "evaluation/perplexity.h"

#include <cmath>

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"

namespace orthorank {

namespace {

void run_window(Engine &engine, const Windows &windows, size_t window, PerplexityResult &result,
                const std::function<void(const LogitsBlock &)> &on_logits) {
    const Stopwatch watch;
    // No row is decoded under the plan, so policies that cannot decode are welcome.
    Sequence sequence = engine.new_sequence(result.plan, Apply::prefill);
    WindowStart start;
    start.n_continuation = windows.continuation_of(window);
    result.window_nlls.push_back(
        window_nll(engine, sequence, windows.window(window), start, on_logits));
    result.seconds += watch.elapsed_s();
    result.n_targets += windows.n_targets_of(window);
    result.n_rows_offered += sequence.n_rows_offered();
    result.n_rows_computed += sequence.n_rows_computed();
    result.nll = mean(result.window_nlls);
    result.ppl = std::exp(result.nll);
}

void compare(PerplexityResult &result, const PerplexityResult &first) {
    result.se = result.ppl * standard_error(result.window_nlls);
    std::vector<double> differences;
    for (size_t i = 0; i < result.window_nlls.size(); ++i) {
        differences.push_back(result.window_nlls[i] - first.window_nlls[i]);
    }
    result.ratio = std::exp(mean(differences));
    result.ratio_se = result.ratio * standard_error(differences);
}

}  // namespace

std::vector<PerplexityResult> perplexity(Engine &engine, const Windows &windows,
                                         std::span<const Plan> plans, const OnPerplexity &on_window,
                                         bool with_divergence) {
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "the text is shorter than one window of {} tokens", windows.n_ctx);
    }
    if (windows.n_continuation >= windows.n_ctx) {
        fail(ErrorKind::usage,
             "a continuation of {} tokens leaves no prompt in a window of {}: give fewer, or a "
             "larger --ctx",
             windows.n_continuation, windows.n_ctx);
    }
    std::vector<PerplexityResult> results(plans.size());
    for (size_t i = 0; i < plans.size(); ++i) {
        results[i].plan = plans[i];
    }
    std::optional<DivergenceMeter> meter;
    if (with_divergence) {
        const auto n_targets = static_cast<size_t>(windows.n_targets_of(0));
        meter.emplace(static_cast<size_t>(windows.n_ctx) - 1 - n_targets, n_targets,
                      engine.model().hparams().n_vocab, plans.size(), engine.n_threads());
    }
    size_t n_done = 0;
    for (size_t w = 0; w < windows.size(); ++w) {
        for (size_t i = 0; i < plans.size(); ++i) {
            std::function<void(const LogitsBlock &)> on_logits;
            if (meter) {
                on_logits = [&meter, i](const LogitsBlock &block) { meter->add(i, block); };
            }
            run_window(engine, windows, w, results[i], on_logits);
            if (on_window) {
                on_window(++n_done, windows.size() * plans.size(), results);
            }
        }
    }
    for (size_t i = 0; i < plans.size(); ++i) {
        compare(results[i], results.front());
        if (meter) {
            results[i].divergence = meter->result(i);
        }
    }
    return results;
}

}  // namespace orthorank
