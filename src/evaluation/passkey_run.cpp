#include "evaluation/passkey_run.h"

#include <algorithm>

#include "base/error.h"
#include "evaluation/passkey.h"
#include "session/answers.h"

namespace orthorank {

namespace {

struct PasskeyPrompt {
    std::string key;
    std::vector<int32_t> tokens;
};

// Stretches of the text spread evenly over it, whole prompts apart where it is long enough.
std::vector<PasskeyPrompt> prompts_of(std::span<const int32_t> text, const Vocab &vocab, int length,
                                      const PasskeyOptions &options) {
    const PasskeyTask task(vocab);
    const auto n_tokens = static_cast<size_t>(length);
    const size_t n_all = options.depths.size() * static_cast<size_t>(options.n_each);
    const size_t n_spare = text.size() - std::min(text.size(), n_tokens);
    std::vector<PasskeyPrompt> prompts;
    for (const double depth : options.depths) {
        for (int i = 0; i < options.n_each; ++i) {
            const size_t number = prompts.size();
            const std::string key = passkey_of(options.seed, number);
            const size_t first = n_spare * number / n_all;
            prompts.push_back({key, task.prompt(text.subspan(first), n_tokens, depth, key)});
        }
    }
    return prompts;
}

// Before hours of shorter ones are run.
void check_lengths(std::span<const int32_t> text, const Vocab &vocab,
                   const PasskeyOptions &options) {
    const PasskeyTask task(vocab);
    for (const int length : options.lengths) {
        task.prompt(text, static_cast<size_t>(length), 0.0, passkey_of(options.seed, 0));
    }
}

double score_of(Engine &engine, const Plan &plan, const PasskeyPrompt &prompt) {
    AnswerOptions options;
    options.plan = plan;
    options.max_new_tokens = k_passkey_answer;
    const Answer answer = greedy_answers(engine, std::span(&prompt.tokens, 1), options).front();
    return first_number(answer.text) == prompt.key ? 1.0 : 0.0;
}

void summarise(PasskeyResult &result, const PasskeyResult &first, size_t n_each) {
    result.value = estimate_mean(result.values);
    result.difference = estimate_paired_difference(result.values, first.values);
    for (size_t i = 0; i < result.values.size(); i += n_each) {
        result.by_depth.push_back(estimate_mean(std::span(result.values).subspan(i, n_each)));
    }
}

}  // namespace

std::vector<PasskeyResult> run_passkey(Engine &engine, std::span<const int32_t> text,
                                       std::span<const Plan> plans, const PasskeyOptions &options) {
    CHECK(!plans.empty() && !options.depths.empty() && options.n_each > 0);
    check_lengths(text, engine.model().vocab(), options);
    std::vector<PasskeyResult> results;
    size_t n_done = 0;
    const size_t n_all = options.lengths.size() * options.depths.size() *
                         static_cast<size_t>(options.n_each) * plans.size();
    for (const int length : options.lengths) {
        const size_t first = results.size();
        for (size_t p = 0; p < plans.size(); ++p) {
            results.push_back({p, length, {}, {}, {}, {}});
        }
        for (const PasskeyPrompt &prompt :
             prompts_of(text, engine.model().vocab(), length, options)) {
            for (size_t p = 0; p < plans.size(); ++p) {
                results[first + p].values.push_back(score_of(engine, plans[p], prompt));
                if (options.on_progress) {
                    options.on_progress(++n_done, n_all);
                }
            }
        }
        for (size_t p = 0; p < plans.size(); ++p) {
            summarise(results[first + p], results[first], static_cast<size_t>(options.n_each));
        }
    }
    return results;
}

}  // namespace orthorank
