#include "evaluation/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>

#include "evaluation/perplexity.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;
using test::TempDir;
using test::write_bytes;
using testing::ElementsAre;

std::vector<int32_t> numbers(int n) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

TEST(Windows, DoNotOverlapAndLeaveTheRestOut) {
    Windows windows;
    windows.n_ctx = 4;
    EXPECT_EQ(windows.size(), 0u);
    EXPECT_EQ(add_windows(windows, numbers(11)), 2u);
    EXPECT_EQ(windows.size(), 2u);
    EXPECT_THAT(windows.window(0), ElementsAre(0, 1, 2, 3));
    EXPECT_THAT(windows.window(1), ElementsAre(4, 5, 6, 7));
    EXPECT_EQ(add_windows(windows, numbers(3)), 0u);
    EXPECT_EQ(windows.size(), 2u);
}

TEST(Windows, OfSeveralStreamsNeverCrossTheirBorder) {
    Windows windows;
    windows.n_ctx = 3;
    add_windows(windows, numbers(7), 1);
    add_windows(windows, numbers(4));
    EXPECT_EQ(windows.size(), 2u);
    EXPECT_THAT(windows.window(1), ElementsAre(0, 1, 2));
}

TEST(Windows, MayEachBeginWithAToken) {
    Windows windows;
    windows.n_ctx = 4;
    EXPECT_EQ(add_windows(windows, numbers(8), 0, 99), 2u);
    EXPECT_THAT(windows.window(0), ElementsAre(99, 0, 1, 2));
    EXPECT_THAT(windows.window(1), ElementsAre(99, 3, 4, 5));
    EXPECT_EQ(add_windows(windows, numbers(8), 1, 99), 1u);
    EXPECT_EQ(windows.size(), 3u);
}

class TinyEngine : public testing::Test {
 protected:
    TinyEngine() {
        write_tiny_gguf(test::tiny_llama_gqa_tied(), dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
        EngineOptions options;
        options.kernels = Kernels::exact;
        options.n_ctx = 64;
        options.n_threads = 1;
        options.kv_type = KvType::f32;  // leaves room for rounding in the comparisons
        engine_ = std::make_unique<Engine>(*model_, options);
        for (int32_t i = 0; i < 40; ++i) {
            tokens_.push_back(3 + (i * 37 + i * i) % 280);
        }
    }
    Plan dense() const { return dense_plan(model_->hparams().n_layers); }
    Plan selecting() const {
        Plan plan = dense();
        plan.name = "selecting";
        plan.layers[1].action = Action::select;
        plan.layers[1].ratio = 0.25;
        return plan;
    }

    TempDir dir_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Engine> engine_;
    std::vector<int32_t> tokens_;
};

// A softmax straight from the definition, over logits computed one row at a time.
TEST_F(TinyEngine, LogProbsAreThoseOfASoftmaxByHand) {
    Sequence sequence = engine_->new_sequence(dense());
    std::vector<double> expected;
    for (size_t i = 0; i + 1 < tokens_.size(); ++i) {
        const std::vector<float> logits =
            forward_last(*engine_, sequence, std::span(&tokens_[i], 1), Phase::prefill);
        double sum = 0;
        for (float logit : logits) {
            sum += std::exp(static_cast<double>(logit));
        }
        const auto target = static_cast<size_t>(tokens_[i + 1]);
        expected.push_back(std::log(std::exp(static_cast<double>(logits[target])) / sum));
    }
    sequence.clear();
    const std::vector<float> found = window_log_probs(*engine_, sequence, tokens_);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_NEAR(found[i], expected[i], 2e-4) << "target " << i;
    }
    const double nll = -std::accumulate(expected.begin(), expected.end(), 0.0) /
                       static_cast<double>(expected.size());
    EXPECT_NEAR(window_nll(*engine_, sequence, tokens_), nll, 5e-5);
}

TEST_F(TinyEngine, NothingIsCarriedFromWindowToWindow) {
    Sequence sequence = engine_->new_sequence(selecting());
    const double first = window_nll(*engine_, sequence, tokens_);
    const std::vector<int32_t> others(tokens_.rbegin(), tokens_.rend());
    EXPECT_NE(window_nll(*engine_, sequence, others), first);
    EXPECT_EQ(window_nll(*engine_, sequence, tokens_), first);
}

TEST_F(TinyEngine, PerplexityIsExpOfTheMeanOverWindows) {
    Windows windows;
    windows.n_ctx = 10;
    add_windows(windows, tokens_);
    const std::vector<Plan> plans = {dense(), selecting()};
    size_t n_calls = 0;
    const auto results =
        perplexity(*engine_, windows, plans, [&](size_t n_done, size_t n_all, auto) {
            EXPECT_EQ(n_done, ++n_calls);
            EXPECT_EQ(n_all, 8u);
        });
    ASSERT_EQ(results.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
        Sequence sequence = engine_->new_sequence(plans[i]);
        double sum = 0;
        double squares = 0;
        for (size_t w = 0; w < 4; ++w) {
            const double nll = window_nll(*engine_, sequence, windows.window(w));
            EXPECT_EQ(results[i].window_nlls[w], nll);
            sum += nll;
            squares += nll * nll;
        }
        const double mean = sum / 4;
        const double deviation = std::sqrt((squares - 4 * mean * mean) / 3);
        EXPECT_NEAR(results[i].nll, mean, 1e-12);
        EXPECT_NEAR(results[i].ppl, std::exp(mean), 1e-9 * std::exp(mean));
        EXPECT_NEAR(results[i].se, std::exp(mean) * deviation / 2, 1e-6 * std::exp(mean));
        EXPECT_EQ(results[i].n_targets, 36);
    }
    EXPECT_NEAR(results[1].ratio, results[1].ppl / results[0].ppl, 1e-12);
    EXPECT_EQ(results[0].n_rows_offered, 0);
    EXPECT_EQ(results[1].n_rows_offered, 40);
    EXPECT_EQ(results[1].n_rows_computed, 8);  // int(0.25 * 10) of each window
}

TEST_F(TinyEngine, APlanOfRatioOneIsTheDenseModel) {
    Plan plan = selecting();
    plan.layers[1].ratio = 1.0;
    Windows windows;
    windows.n_ctx = 20;
    add_windows(windows, tokens_);
    const auto results = perplexity(*engine_, windows, std::vector<Plan>{dense(), plan});
    EXPECT_NEAR(results[1].ratio, 1.0, 2e-3);
}

TEST_F(TinyEngine, AttentionReceivedHasAPerplexity) {
    Plan plan = selecting();
    plan.layers[1].policy = policy_from_name("attention-up");
    Windows windows;
    windows.n_ctx = 20;
    add_windows(windows, tokens_, 1);
    const auto results = perplexity(*engine_, windows, std::vector<Plan>{plan});
    EXPECT_TRUE(std::isfinite(results[0].ppl));
    EXPECT_TRUE(std::isnan(results[0].se)) << "a single window has no spread";
}

TEST_F(TinyEngine, NoWindowIsRefused) {
    Windows windows;
    windows.n_ctx = 50;
    add_windows(windows, tokens_);
    expect_error(ErrorKind::limit, "shorter than one window of 50",
                 [&] { perplexity(*engine_, windows, std::vector<Plan>{dense()}); });
}

}  // namespace
}  // namespace orthorank
