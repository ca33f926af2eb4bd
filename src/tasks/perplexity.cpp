#include "tasks/perplexity.h"

#include <cmath>

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"

namespace orthorank {

namespace {

void run_window(Engine &engine, std::span<const int32_t> tokens, PerplexityResult &result) {
    const Stopwatch watch;
    // Nothing is decoded, so policies that cannot decode are welcome.
    Sequence sequence = engine.new_sequence(result.plan, Apply::prefill);
    result.window_nlls.push_back(window_nll(engine, sequence, tokens));
    result.seconds += watch.elapsed_s();
    result.n_targets += static_cast<int64_t>(tokens.size()) - 1;
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
                                         std::span<const Plan> plans,
                                         const OnPerplexity &on_window) {
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "the text is shorter than one window of {} tokens", windows.n_ctx);
    }
    std::vector<PerplexityResult> results(plans.size());
    for (size_t i = 0; i < plans.size(); ++i) {
        results[i].plan = plans[i];
    }
    size_t n_done = 0;
    for (size_t w = 0; w < windows.size(); ++w) {
        for (PerplexityResult &result : results) {
            run_window(engine, windows.window(w), result);
            if (on_window) {
                on_window(++n_done, windows.size() * plans.size(), results);
            }
        }
    }
    for (PerplexityResult &result : results) {
        compare(result, results.front());
    }
    return results;
}

}  // namespace orthorank
