// Searching and fitting for what follows a prompt: losses of candidates against full passes,
// divergences against the definition, fits of rows that are inherited or kept, retrieval windows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/statistics.h"
#include "calibration/continuation_weights.h"
#include "calibration/fit_corrections.h"
#include "calibration/joint_model.h"
#include "calibration/layer_losses.h"
#include "calibration/retrieval.h"
#include "calibration/select_layers.h"
#include "evaluation/passkey.h"
#include "evaluation/perplexity.h"
#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

class PromptCalibrationTest : public testing::Test {
 protected:
    PromptCalibrationTest() {
        windows_.n_ctx = 200;
        windows_.n_continuation = 20;
        add_windows(windows_, random_tokens(600, 41));
    }
    static LayerPlan selecting(double ratio, const std::string &policy = "norm-up") {
        return {Action::select, ratio, policy_from_name(policy)};
    }
    // Windows of the first so many tokens of each.
    Windows first_rows(int n) const {
        Windows windows;
        windows.n_ctx = n;
        for (size_t w = 0; w < windows_.size(); ++w) {
            add_windows(windows, windows_.window(w).first(static_cast<size_t>(n)));
        }
        return windows;
    }
    // Of the definition: the prompt under the plan, then its continuation.
    double loss_of(const Plan &plan, size_t window) {
        Windows one;
        one.n_ctx = windows_.n_ctx;
        one.n_continuation = windows_.continuation_of(window);
        add_windows(one, windows_.window(window));
        return perplexity(engine_, one, std::span(&plan, 1)).front().nll;
    }

    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    Engine engine_{model_, test_options()};
    Windows windows_;
};

TEST_F(PromptCalibrationTest, CandidatesFromKeptStatesAreFullPasses) {
    add_retrieval_windows(windows_, 2, model_.vocab());
    constexpr int k_keep_last = 7;
    LayerLosses kept(engine_, windows_, int64_t{1} << 30, k_keep_last);
    LayerLosses full(engine_, windows_, 0, k_keep_last);
    Plan plan = dense_plan(n_layers_);
    plan.keep_last = k_keep_last;
    for (LayerLosses *losses : {&kept, &full}) {
        losses->accept(0, selecting(0.3));
    }
    plan.layers[0] = selecting(0.3);
    plan.layers[1] = selecting(0.2);
    for (size_t w = 0; w < windows_.size(); ++w) {
        const double loss = kept.nll(w, 1, selecting(0.2));
        EXPECT_EQ(loss, full.nll(w, 1, selecting(0.2))) << "to the bit";
        EXPECT_NEAR(loss, loss_of(plan, w), 1e-6) << w;
        EXPECT_EQ(kept.log_probs(w, 1, selecting(0.2)).size(),
                  static_cast<size_t>(windows_.n_targets_of(w)));
    }
}

// A candidate behind the first selecting layer takes its rows; one before it becomes the first.
TEST_F(PromptCalibrationTest, CandidatesThatInheritAreFullPasses) {
    LayerLosses kept(engine_, windows_, int64_t{1} << 30, 0, /*inherits=*/true);
    LayerLosses full(engine_, windows_, 0, 0, /*inherits=*/true);
    const LayerPlan change = selecting(0.25);
    for (size_t w = 0; w < windows_.size(); ++w) {
        kept.nll(w, n_layers_ - 1, change);  // all boundaries of the dense base
    }
    for (LayerLosses *losses : {&kept, &full}) {
        losses->accept(2, change);
        losses->accept(4, change);
    }
    for (const int candidate : {3, 5, 1, 3}) {
        Plan plan = dense_plan(n_layers_);
        for (const int il : {2, 4, candidate}) {
            plan.layers[static_cast<size_t>(il)] = selecting(0.25, "inherit");
        }
        plan.layers[static_cast<size_t>(std::min(2, candidate))] = change;
        for (size_t w = 0; w < windows_.size(); ++w) {
            const double loss = kept.nll(w, candidate, change);
            EXPECT_EQ(loss, full.nll(w, candidate, change)) << "to the bit";
            EXPECT_NEAR(loss, loss_of(plan, w), 1e-6) << candidate << " " << w;
        }
    }
    kept.accept(1, change);
    EXPECT_EQ(kept.base().layers[1], change);
    EXPECT_EQ(kept.base().layers[2], selecting(0.25, "inherit"));
    full.accept(1, change);
    EXPECT_EQ(kept.nll(0, 5, change), full.nll(0, 5, change)) << "rows of the new first layer";
}

TEST_F(PromptCalibrationTest, JointMovesInheritTheRowsOfTheFirst) {
    JointModelOptions options;
    options.choices = {selecting(0.25)};
    options.correction.rank = 4;
    options.inherits = true;
    JointModel joint(engine_, windows_, options);
    joint.accept({2, 0});
    const std::vector<float> behind = joint.divergences(0, {4, 0});
    joint.accept({4, 0});
    EXPECT_EQ(joint.base_divergences(0), behind);
    EXPECT_EQ(joint.base().layers[2].policy, policy_from_name("norm-up"));
    EXPECT_EQ(joint.base().layers[4].policy, policy_from_name("inherit"));
    ASSERT_NE(joint.base().layers[4].correction, nullptr);
    // One before it becomes the first; the others are fitted anew for its rows.
    const CorrectionPtr before = joint.base().layers[4].correction;
    joint.accept({1, 0});
    EXPECT_EQ(joint.base().layers[1].policy, policy_from_name("norm-up"));
    EXPECT_EQ(joint.base().layers[2].policy, policy_from_name("inherit"));
    EXPECT_NE(*joint.base().layers[4].correction, *before);
    JointModel again(engine_, windows_, options);
    const std::vector<JointMove> moves = {{1, 0}, {2, 0}, {4, 0}};
    again.restore(moves);
    EXPECT_EQ(again.base().layers, joint.base().layers) << "whatever the order";
    EXPECT_EQ(again.base_divergences(0), joint.base_divergences(0));
}

TEST_F(PromptCalibrationTest, DivergencesAreThoseOfTheContinuation) {
    add_retrieval_windows(windows_, 1, model_.vocab());
    JointModelOptions options;
    options.choices = {selecting(0.2)};
    options.correction.rank = 4;
    options.correction.keep_last = 5;
    options.keep_last = 5;
    JointModel joint(engine_, windows_, options);
    ASSERT_EQ(joint.n_windows(), 2u) << "one of text, and the one that asks";
    EXPECT_EQ(joint.base_divergences(0).size(), 20u);
    for (const float divergence : joint.base_divergences(1)) {
        EXPECT_NEAR(divergence, 0.0, 1e-6) << "dense";
    }
    const std::vector<float> found = joint.divergences(1, {1, 0});
    joint.accept({1, 0});
    EXPECT_EQ(joint.base().keep_last, 5);
    const std::vector<Plan> plans = {dense_plan(n_layers_), joint.base()};
    Windows one;
    one.n_ctx = windows_.n_ctx;
    one.n_continuation = windows_.continuation_of(3);
    add_windows(one, windows_.window(3));
    const auto results = perplexity(engine_, one, plans, {}, /*with_divergence=*/true);
    double mean = 0;
    for (const float divergence : found) {
        mean += divergence / static_cast<double>(found.size());
    }
    EXPECT_EQ(found.size(), results[1].divergence->n_rows);
    EXPECT_NEAR(mean, results[1].divergence->mean, 1e-5);
    EXPECT_GT(mean, 1e-6);
}

TEST_F(PromptCalibrationTest, InheritedRowsAreFittedAsThoseOfTheLayerBefore) {
    FitOptions options;
    options.correction.rank = 3;
    const auto fitted = [&](double ratio, const LayerPlan &second) {
        Plan plan = dense_plan(n_layers_);
        plan.layers[0] = selecting(ratio);
        plan.layers[1] = second;
        plan.layers[1].ratio = ratio;
        return fit_corrections(engine_, windows_, plan, options).layers[1].correction;
    };
    const LayerPlan inherit = selecting(0.0, "inherit");
    const CorrectionPtr none = fitted(0.0, inherit);
    EXPECT_EQ(*none, *fitted(0.0, selecting(0.0))) << "no row is computed by either";
    EXPECT_NE(*none, *fitted(0.5, inherit)) << "the rows that the layer before leaves out";
}

// Of rows that are kept no correction is made: with all but the first ones kept, those alone count.
TEST_F(PromptCalibrationTest, KeptRowsAreNotFitted) {
    FitOptions options;
    options.correction.rank = 0;
    const auto bias = [&](int keep_last) {
        Plan plan = dense_plan(n_layers_);
        plan.layers[1] = selecting(0.0);
        plan.keep_last = keep_last;
        return fit_corrections(engine_, windows_, plan, options).layers[1].correction->bias;
    };
    Plan plan = dense_plan(n_layers_);
    plan.layers[1] = selecting(0.0);
    const Plan expected = fit_corrections(engine_, first_rows(50), plan, options);
    // 180 tokens of each prompt, the first 50 not kept: the mean of the same rows.
    EXPECT_LT(relative_distance(bias(130), expected.layers[1].correction->bias), 1e-4);
    EXPECT_GT(relative_distance(bias(0), expected.layers[1].correction->bias), 1e-3);
}

// No probe either: it knew rows among which it never chooses.
TEST_F(PromptCalibrationTest, ProbesAreNotFittedToKeptRows) {
    FitOptions options;
    options.correction.rank = 0;
    const auto weight = [&](const Windows &windows, int keep_last) {
        Plan plan = dense_plan(n_layers_);
        plan.layers[1] = selecting(0.2, "probe");
        plan.keep_last = keep_last;
        return fit_corrections(engine_, windows, plan, options).layers[1].probe->weight;
    };
    const std::vector<float> expected = weight(first_rows(50), 0);
    EXPECT_LT(relative_distance(weight(windows_, 130), expected), 1e-2);
    EXPECT_GT(relative_distance(weight(windows_, 0), expected), 5e-2);
}

// All rows of a removed layer are corrected: there are none that it computes.
TEST_F(PromptCalibrationTest, RemovedLayersAreFittedToAllRows) {
    FitOptions options;
    options.correction.rank = 0;
    const auto fitted = [&](int keep_last) {
        Plan plan = dense_plan(n_layers_);
        plan.layers[1].action = Action::skip;
        plan.keep_last = keep_last;
        return fit_corrections(engine_, windows_, plan, options).layers[1].correction;
    };
    EXPECT_EQ(*fitted(130), *fitted(0));
}

// The attention that the continuation's rows pay, in the layers behind.
TEST_F(PromptCalibrationTest, WeightsAreTheContinuationsAttention) {
    constexpr size_t k_n_prompt = 180;
    const auto weights = continuation_weights(engine_, windows_.window(0), 20, 1.0);
    const auto halved = continuation_weights(engine_, windows_.window(0), 20, 0.5);
    ASSERT_EQ(weights.size(), static_cast<size_t>(n_layers_));
    EXPECT_THAT(weights.back(), testing::Each(1.0f)) << "nothing is behind the last layer";
    EXPECT_THAT(continuation_weights(engine_, windows_.window(0), 20, 0.0),
                testing::Each(std::vector<float>(k_n_prompt, 1.0f)));
    // Of the last layer but one: what the rows of the last one see, by the policy's own scores.
    LayerPlan asking = selecting(0.5, "query");
    asking.policy.window = 20;
    Plan plan = dense_plan(n_layers_);
    plan.layers.back() = asking;
    Sequence sequence = engine_.new_sequence(plan, Apply::prefill);
    run(engine_, sequence, windows_.window(0), Outputs::last);
    const std::vector<float> &scores = sequence.record(n_layers_ - 1).scores;
    double sum = 0;
    for (size_t row = 1; row < k_n_prompt; ++row) {
        sum += double{scores[row]};
    }
    const auto &found = weights[static_cast<size_t>(n_layers_ - 2)];
    ASSERT_EQ(found.size(), k_n_prompt);
    for (size_t row = 1; row < k_n_prompt; ++row) {
        const double expected = double{scores[row]} / sum * (k_n_prompt - 1);
        EXPECT_NEAR(found[row], expected, 1e-4 * expected);
        EXPECT_NEAR(halved[static_cast<size_t>(n_layers_ - 2)][row], 0.5 + 0.5 * expected,
                    1e-4 * (1 + expected));
    }
    EXPECT_NE(weights[0], weights[1]) << "earlier layers have more behind them";
}

// At rank 0 a correction is the mean of what is missing: the weighted one.
TEST_F(PromptCalibrationTest, FitsCountRowsByTheirWeights) {
    Plan plan = dense_plan(n_layers_);
    plan.layers[1] = selecting(0.0);
    FitOptions options;
    options.correction.rank = 0;
    options.correction.attention_part = 1.0;
    const Plan fitted = fit_corrections(engine_, windows_, plan, options);
    const auto n_embd = static_cast<size_t>(model_.hparams().n_embd);
    std::vector<double> sums(n_embd, 0.0);
    double all = 0;
    for (size_t w = 0; w < windows_.size(); ++w) {
        const auto weights = continuation_weights(engine_, windows_.window(w), 20, 1.0)[1];
        Sequence dense = engine_.new_sequence(dense_plan(n_layers_));
        HiddenTap tap({1, 2});
        run(engine_, dense, windows_.prompt_of(w), Outputs::last, &tap);
        for (size_t row = 1; row < weights.size(); ++row) {
            all += double{weights[row]};
            for (size_t i = 0; i < n_embd; ++i) {
                const size_t at = row * n_embd + i;
                sums[i] += double{weights[row]} * double{tap.hidden(2)[at] - tap.hidden(1)[at]};
            }
        }
    }
    std::vector<float> expected;
    for (const double sum : sums) {
        expected.push_back(static_cast<float>(sum / all));
    }
    EXPECT_LT(relative_distance(fitted.layers[1].correction->bias, expected), 1e-4);
    options.correction.attention_part = 0.0;
    const Plan plain = fit_corrections(engine_, windows_, plan, options);
    EXPECT_GT(relative_distance(plain.layers[1].correction->bias, expected), 1e-3);
    // The joint search's fits count them too.
    JointModelOptions joint_options;
    joint_options.choices = {plan.layers[1]};
    joint_options.correction = options.correction;
    JointModel plain_joint(engine_, windows_, joint_options);
    plain_joint.accept({1, 0});
    joint_options.correction.attention_part = 1.0;
    JointModel joint(engine_, windows_, joint_options);
    joint.accept({1, 0});
    EXPECT_NE(*joint.base().layers[1].correction, *plain_joint.base().layers[1].correction);
}

TEST_F(PromptCalibrationTest, WindowsOfBothKindsAreMeasuredInTurn) {
    EXPECT_THAT(order_by_kind(3, 0), testing::ElementsAre(0, 1, 2));
    EXPECT_THAT(order_by_kind(2, 4), testing::ElementsAre(0, 2, 3, 1, 4, 5));
    EXPECT_THAT(order_by_kind(4, 2), testing::ElementsAre(0, 4, 1, 2, 5, 3));
    EXPECT_THAT(order_by_kind(1, 3), testing::ElementsAre(0, 1, 2, 3));
    // The joint search's too: three windows of text, two of which measure.
    add_retrieval_windows(windows_, 2, model_.vocab());
    JointModelOptions options;
    options.choices = {selecting(0.2)};
    options.n_kl_windows = 2;
    JointModel joint(engine_, windows_, options);
    EXPECT_EQ(joint.n_kinds(), 2u);
    const auto n_answer = static_cast<size_t>(windows_.continuation_of(3));
    ASSERT_NE(n_answer, 20u);
    for (size_t w = 0; w < 4; ++w) {
        const std::vector<float> divergences = joint.base_divergences(w);
        EXPECT_EQ(divergences.size(), w % 2 == 0 ? 20u : n_answer) << w;
        EXPECT_NEAR(mean(divergences), 0.0, 1e-6) << "each against its own dense logits";
    }
}

// A race and an exact search measure them in that order, and find the same layer.
TEST_F(PromptCalibrationTest, SearchesMeasureWindowsOfBothKindsInTurn) {
    add_retrieval_windows(windows_, 2, model_.vocab());
    LayerSelectionOptions options;
    options.change = selecting(0.1);
    options.n_layers = 1;
    const LayerOrder exact = select_layers(engine_, windows_, options);
    options.race = true;
    const LayerOrder raced = select_layers(engine_, windows_, options);
    ASSERT_EQ(raced.rounds.size(), 1u);
    const int layer = raced.rounds[0].layer;
    EXPECT_EQ(layer, exact.rounds[0].layer);
    EXPECT_EQ(raced.rounds[0].loss, exact.rounds[0].loss);
    EXPECT_EQ(raced.dense_loss, exact.dense_loss);
    LayerLosses losses(engine_, windows_, 0);
    const std::vector<size_t> order = order_by_kind(3, 2);
    ASSERT_EQ(raced.race.base_losses.size(), order.size());
    for (size_t i = 0; i < order.size(); ++i) {
        EXPECT_EQ(raced.race.base_losses[i], losses.nll(order[i], layer, options.change)) << i;
    }
}

TEST_F(PromptCalibrationTest, RetrievalWindowsEndInTheKey) {
    add_retrieval_windows(windows_, 4, model_.vocab());
    ASSERT_EQ(windows_.size(), 7u);
    EXPECT_EQ(windows_.n_plain(), 3u);
    for (size_t w = 3; w < 7; ++w) {
        const std::string text = model_.vocab().detokenize(windows_.window(w));
        const std::string key = text.substr(text.size() - 5);
        EXPECT_LT(text.find(key), text.size() - 5) << "the sentence in the text";
        const auto answer =
            windows_.window(w).last(static_cast<size_t>(windows_.continuation_of(w)));
        EXPECT_EQ(first_number(model_.vocab().detokenize(answer)), key);
        EXPECT_EQ(windows_.prompt_of(w).size() + answer.size(), 200u);
    }
    EXPECT_EQ(windows_.continuation_of(0), 20);
}

}  // namespace
}  // namespace orthorank::test
