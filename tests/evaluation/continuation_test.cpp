// The loss of what follows a prompt under a plan, against its definition: a prefill and
// teacher-forced decode steps, one by one. F32 weights and cache.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "evaluation/perplexity.h"
#include "session/log_probs.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

constexpr int k_n_ctx = 60;
constexpr int k_n_continuation = 12;

class ContinuationTest : public testing::TestWithParam<std::string> {
 protected:
    ContinuationTest() {
        windows_.n_ctx = k_n_ctx;
        windows_.n_continuation = k_n_continuation;
        add_windows(windows_, random_tokens(2 * k_n_ctx, 31));
        Plan selecting = select_plan(n_layers_, {0, 1}, 0.3, "probe");
        selecting = completed(selecting, model_.hparams().n_embd, 3);
        selecting.keep_last = 5;
        Plan removing = skip_plan(n_layers_, {1});
        removing = completed(removing, model_.hparams().n_embd, 2);
        Plan inheriting = select_plan(n_layers_, {0}, 0.25);
        inheriting.layers[1] = {Action::select, 0.25, policy_from_name("inherit")};
        plans_ = {dense_plan(n_layers_), selecting, removing, inheriting};
    }

    // The rows that predict the continuation, by steps.
    Logits by_steps(const Plan &plan, size_t window) {
        Sequence sequence = engine_.new_sequence(plan, Apply::prefill);
        const std::span<const int32_t> tokens = windows_.window(window);
        const size_t n_prompt = k_n_ctx - k_n_continuation;
        Logits logits = run(engine_, sequence, tokens.first(n_prompt), Outputs::last);
        const Logits steps =
            run_steps(engine_, sequence, tokens.subspan(n_prompt, k_n_continuation - 1));
        logits.insert(logits.end(), steps.begin(), steps.end());
        return logits;
    }

    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;
    const size_t n_vocab_ = static_cast<size_t>(model_.hparams().n_vocab);
    Engine engine_{model_, test_options()};
    Windows windows_;
    std::vector<Plan> plans_;
};

TEST_P(ContinuationTest, EqualsAPrefillAndTeacherForcedSteps) {
    const auto results = perplexity(engine_, windows_, plans_, {}, /*with_divergence=*/true);
    for (size_t p = 0; p < plans_.size(); ++p) {
        double divergence = 0;
        for (size_t w = 0; w < windows_.size(); ++w) {
            const Logits logits = by_steps(plans_[p], w);
            const Logits dense = by_steps(plans_[0], w);
            const auto targets = windows_.window(w).last(k_n_continuation);
            double nll = 0;
            for (size_t i = 0; i < targets.size(); ++i) {
                const auto row = std::span(logits).subspan(i * n_vocab_, n_vocab_);
                nll -= row[static_cast<size_t>(targets[i])] - log_sum_exp(row);
                divergence += kl_divergence(std::span(dense).subspan(i * n_vocab_, n_vocab_), row);
            }
            EXPECT_NEAR(results[p].window_nlls[w], nll / k_n_continuation, 2e-5) << p;
        }
        const double n_targets = 2.0 * k_n_continuation;
        EXPECT_NEAR(results[p].divergence->mean, divergence / n_targets, 2e-5) << p;
        EXPECT_EQ(results[p].divergence->n_rows, 2u * k_n_continuation);
        EXPECT_EQ(results[p].n_targets, 2 * k_n_continuation);
    }
    EXPECT_NE(results[1].nll, results[0].nll);
    EXPECT_NE(results[2].nll, results[0].nll);
    EXPECT_NE(results[3].nll, results[0].nll);
}

TEST_P(ContinuationTest, RowsBehindThePromptAreNotLeftOut) {
    const auto results = perplexity(engine_, windows_, plans_);
    const int64_t n_prompt = k_n_ctx - k_n_continuation;
    EXPECT_EQ(results[1].n_rows_offered, 2 * 2 * n_prompt) << "windows, layers";
    const auto n_computed = static_cast<int64_t>(0.3 * static_cast<double>(n_prompt - 5)) + 5;
    EXPECT_EQ(results[1].n_rows_computed, 2 * 2 * n_computed);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ContinuationTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &c) { return test_name(c.param); });

TEST(Continuation, AsLongAsTheWindowIsRefused) {
    const Model &model = fixture_model("tiny-llama-gqa");
    Engine engine(model, test_options());
    Windows windows;
    windows.n_ctx = 10;
    windows.n_continuation = 10;
    add_windows(windows, random_tokens(10, 1));
    const std::vector<Plan> plans = {dense_plan(model.hparams().n_layers)};
    expect_error(ErrorKind::usage, "a continuation of 10 tokens leaves no prompt in a window of 10",
                 [&] { perplexity(engine, windows, plans); });
}

}  // namespace
}  // namespace orthorank::test
