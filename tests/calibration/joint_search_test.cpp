// The joint search alone, on made-up divergences: what it takes, what it measures again, where it
// continues.
#include "calibration/joint_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "support/errors.h"

namespace orthorank {
namespace {

using test::expect_error;
using testing::ElementsAre;

constexpr size_t k_tokens = 512;

// A model in which each changed layer hurts by its weight times a power of what it saves, and the
// hurts of all layers together grow faster than their sum.
class MadeUp : public JointPrices {
 public:
    MadeUp(std::vector<double> weights, std::vector<double> savings)
        : weights_(std::move(weights)), savings_(std::move(savings)) {}

    size_t n_windows() const override { return 2; }
    std::vector<float> base_divergences(size_t window) override { return values(base_, window); }
    std::vector<float> divergences(size_t window, const JointMove &move) override {
        std::map<int, int> changed = base_;
        changed[move.layer] = move.choice;
        ++n_asked_;
        return values(changed, window);
    }
    void accept(const JointMove &move) override { base_[move.layer] = move.choice; }
    int64_t n_layer_evaluations() const override { return n_asked_; }

    double divergence(const std::map<int, int> &changed) const {
        double sum = 0;
        for (const auto &[layer, choice] : changed) {
            sum += weights_[static_cast<size_t>(layer)] *
                   std::pow(savings_[static_cast<size_t>(choice)], 1.5);
        }
        return std::pow(sum, 1.3);
    }

 private:
    // Every token differs by a little, each window differently; the mean is what it should be.
    std::vector<float> values(const std::map<int, int> &changed, size_t window) const {
        const auto mean = static_cast<float>(divergence(changed));
        std::vector<float> values(k_tokens, mean);
        for (size_t i = 0; i < k_tokens; ++i) {
            values[i] += mean * (i % 2 == 0 ? 0.01F : -0.01F) * static_cast<float>(window + 1);
        }
        return values;
    }

    std::vector<double> weights_;
    std::vector<double> savings_;
    std::map<int, int> base_;
    int64_t n_asked_ = 0;
};

const std::vector<double> k_savings = {0.5, 0.667, 0.8, 1.0};
const std::vector<double> k_weights = {9, 1, 7, 2, 8, 3, 1.5, 6, 2.5, 5, 4, 9};

JointOptions options_for(double target) {
    JointOptions options;
    for (int il = 1; il + 1 < static_cast<int>(k_weights.size()); ++il) {
        options.layers.push_back(il);
    }
    options.savings = k_savings;
    options.target = target;
    return options;
}

std::map<int, int> changed_by(const JointOrder &order) {
    std::map<int, int> changed;
    for (const JointRound &round : order.rounds) {
        changed[round.move.layer] = round.move.choice;
    }
    return changed;
}

JointOrder run(const JointOptions &options) {
    MadeUp prices(k_weights, k_savings);
    return search_jointly(prices, options);
}

TEST(JointSearch, ReachesTheTargetAndNoFurtherThanNeeded) {
    for (const double target : {0.5, 2.0, 3.3, 6.0, 10.0}) {
        const JointOrder order = run(options_for(target));
        ASSERT_FALSE(order.rounds.empty());
        EXPECT_GE(saved_by(order), target * (1 - 1e-9));
        EXPECT_LT(saved_by(order), target + 0.5);
        double saved = 0;
        for (const auto &[layer, choice] : changed_by(order)) {
            saved += k_savings[static_cast<size_t>(choice)];
        }
        EXPECT_NEAR(saved, saved_by(order), 1e-9);
        const MadeUp model(k_weights, k_savings);
        EXPECT_NEAR(order.rounds.back().divergence, model.divergence(changed_by(order)), 1e-4);
    }
}

// By hand: with one layer to save 0.5, the lightest at the smallest choice hurts least.
TEST(JointSearch, FirstMoveIsTheCheapest) {
    const JointOrder order = run(options_for(0.5));
    EXPECT_THAT(moves_of(order), ElementsAre(JointMove{1, 0}));
    EXPECT_EQ(order.rounds[0].n_measured, 40);
    EXPECT_NEAR(order.rounds[0].divergence, std::pow(std::pow(0.5, 1.5), 1.3), 1e-6);
}

TEST(JointSearch, LazinessChangesNothingHereAndSavesMuch) {
    JointOptions options = options_for(5.0);
    const JointOrder lazy = run(options);
    options.brute_force = true;
    const JointOrder brute = run(options);
    EXPECT_EQ(moves_of(lazy), moves_of(brute));
    EXPECT_LT(3 * lazy.n_layer_evaluations, brute.n_layer_evaluations);
    for (size_t i = 1; i < lazy.rounds.size(); ++i) {
        EXPECT_LE(lazy.rounds[i].n_measured, options.n_again);
    }
}

// Two layers; one window of text, and one that asks for a number and has a single block of tokens.
// Layer 1 costs more on text and next to nothing there, layer 2 the other way round.
class TwoKinds : public JointPrices {
 public:
    size_t n_windows() const override { return 2; }
    size_t n_kinds() const override { return 2; }
    std::vector<float> base_divergences(size_t window) override { return values(window, 0.0F); }
    std::vector<float> divergences(size_t window, const JointMove &move) override {
        const bool is_text = window == 0;
        return values(window, move.layer == 1 ? (is_text ? 0.3F : 0.1F) : (is_text ? 0.2F : 0.9F));
    }
    void accept(const JointMove &) override {}
    int64_t n_layer_evaluations() const override { return 0; }

 private:
    static std::vector<float> values(size_t window, float value) {
        return std::vector<float>(window == 0 ? 256 : 4, value);
    }
};

TEST(JointSearch, NoMoveIsGivenUpBeforeAWindowOfEachKind) {
    JointOptions options;
    options.layers = {1, 2};
    options.savings = {0.5};
    options.target = 0.5;
    options.done.prices = {{0.02}, {0.01}};  // so 2 leads when 1 runs
    options.n_again = 2;
    options.done.runners_up = {{2, 0}, {1, 0}};
    TwoKinds prices;
    EXPECT_THAT(moves_of(search_jointly(prices, options)), ElementsAre(JointMove{1, 0}));
}

TEST(JointSearch, InterruptedAndContinuedIsTheSame) {
    JointOptions options = options_for(5.0);
    const JointOrder straight = run(options);
    JointOrder kept;
    int n_asked = 0;
    options.on_round = [&](const JointOrder &order) { kept = order; };
    options.should_stop = [&] { return ++n_asked > 110; };
    EXPECT_THROW(run(options), Interrupted);
    ASSERT_GE(kept.rounds.size(), 1u);
    ASSERT_LT(kept.rounds.size(), straight.rounds.size());
    options.should_stop = {};
    options.done = kept;
    MadeUp prices(k_weights, k_savings);
    for (const JointRound &round : kept.rounds) {
        prices.accept(round.move);
    }
    const JointOrder continued = search_jointly(prices, options);
    EXPECT_EQ(moves_of(continued), moves_of(straight));
    EXPECT_EQ(continued.prices, straight.prices);
    EXPECT_EQ(continued.rounds.back().divergence, straight.rounds.back().divergence);
}

// A layer that was made selecting may be made cheaper still, and is then counted once.
TEST(JointSearch, LayersAreMadeCheaperStill) {
    const JointOrder order = run(options_for(10.0));
    EXPECT_GT(order.rounds.size(), 10u);
    for (const int choice : choices_of(options_for(10.0), order)) {
        EXPECT_EQ(choice, 3);
    }
}

class NotANumber : public MadeUp {
 public:
    using MadeUp::MadeUp;
    std::vector<float> divergences(size_t window, const JointMove &move) override {
        if (move.layer != 5) {
            return std::vector<float>(k_tokens, std::numeric_limits<float>::quiet_NaN());
        }
        return MadeUp::divergences(window, move);
    }
};

TEST(JointSearch, DivergencesThatAreNoNumbers) {
    NotANumber prices(k_weights, k_savings);
    EXPECT_THAT(moves_of(search_jointly(prices, options_for(0.4))), ElementsAre(JointMove{5, 0}));
    expect_error(ErrorKind::format, "is a number", [] {
        NotANumber all(k_weights, k_savings);
        JointOptions options = options_for(0.4);
        options.layers = {1, 2};
        search_jointly(all, options);
    });
}

TEST(JointSearch, TargetsOutOfReachAreRefused) {
    expect_error(ErrorKind::usage, "10 layers that may be changed save 10 of 10.5",
                 [] { run(options_for(10.5)); });
}

}  // namespace
}  // namespace orthorank
