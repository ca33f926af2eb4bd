#include "evaluation/perplexity.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "session/session.h"

namespace orthorank {

namespace {

// Row i predicts token i + 1; the last row predicts nothing. Rows of the continuation are behind
// the prompt.
Request window_request(const Plan &plan, const Windows &windows, size_t window) {
    const std::span<const int32_t> tokens = windows.window(window);
    const int n_continuation = windows.continuation_of(window);
    Request request;
    request.plan = plan;
    // No row is decoded under the plan, so policies that cannot decode are welcome.
    request.plan.apply = Apply::prefill;
    request.tokens.assign(tokens.begin(), tokens.end());
    request.n_prompt = n_continuation > 0 ? windows.n_ctx - n_continuation : -1;
    request.targets.assign(tokens.end() - windows.n_targets_of(window), tokens.end());
    request.targets.push_back(-1);
    return request;
}

void add_window(PerplexityResult &result, const RequestResult &window, double seconds) {
    std::vector<float> log_probs;
    for (const TokenLogProb &target : window.target_log_probs) {
        log_probs.push_back(target.log_prob);
    }
    log_probs.pop_back();
    result.window_nlls.push_back(-mean(log_probs));
    result.seconds += seconds;
    result.n_targets += static_cast<int64_t>(log_probs.size());
    result.n_rows_offered += window.n_rows_offered;
    result.n_rows_computed += window.n_rows_computed;
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

std::vector<PerplexityResult> perplexity(std::span<const PerplexityArm> arms,
                                         const Windows &windows, const OnPerplexity &on_window,
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
    std::vector<PerplexityResult> results(arms.size());
    for (size_t i = 0; i < arms.size(); ++i) {
        results[i].plan = arms[i].plan;
    }
    std::optional<DivergenceMeter> meter;
    if (with_divergence && !arms.empty()) {
        const Engine &first = *arms.front().engine;
        const auto n_targets = static_cast<size_t>(windows.n_targets_of(0));
        meter.emplace(static_cast<size_t>(windows.n_ctx) - 1 - n_targets, n_targets,
                      first.model().hparams().n_vocab, arms.size(), first.n_threads());
    }
    size_t n_done = 0;
    for (size_t w = 0; w < windows.size(); ++w) {
        for (size_t i = 0; i < arms.size(); ++i) {
            const Stopwatch watch;
            Request request = window_request(arms[i].plan, windows, w);
            if (meter) {
                request.on_logits = [&meter, i](const LogitsBlock &block) { meter->add(i, block); };
            }
            const RequestResult window = run_request(*arms[i].engine, std::move(request));
            add_window(results[i], window, watch.elapsed_s());
            if (on_window) {
                on_window(++n_done, windows.size() * arms.size(), results);
            }
        }
    }
    for (size_t i = 0; i < arms.size(); ++i) {
        compare(results[i], results.front());
        if (meter) {
            results[i].divergence = meter->result(i);
        }
    }
    return results;
}

std::vector<PerplexityResult> perplexity(Engine &engine, const Windows &windows,
                                         std::span<const Plan> plans, const OnPerplexity &on_window,
                                         bool with_divergence) {
    std::vector<PerplexityArm> arms;
    for (const Plan &plan : plans) {
        arms.push_back({&engine, plan});
    }
    return perplexity(arms, windows, on_window, with_divergence);
}

}  // namespace orthorank
