// The lazy race alone, on made-up losses: what it measures, what it leaves unmeasured, what the
// next round knows, and that the order is that of measuring everything.
#include "calibration/selection_race.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

namespace orthorank {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr size_t k_tokens = 512;
constexpr double k_nan = std::numeric_limits<double>::quiet_NaN();

// A number from -1 to 1 that depends on everything.
double noise(int layer, size_t window, size_t token) {
    uint32_t state = static_cast<uint32_t>(layer) * 7919U + static_cast<uint32_t>(window) * 104729U;
    state = (state + static_cast<uint32_t>(token)) * 1664525U + 1013904223U;
    state = (state ^ (state >> 15)) * 2246822519U;
    return static_cast<double>(state >> 8) / 8388608.0 - 1.0;
}

// Log-probabilities whose mean is about -loss: tokens are hard or easy for all layers alike, and
// each layer differs a little.
std::vector<float> log_probs_of(double loss, int layer, size_t window) {
    std::vector<float> values(k_tokens);
    for (size_t i = 0; i < k_tokens; ++i) {
        values[i] =
            static_cast<float>(-loss + noise(-1, window, i) + 0.01 * noise(layer, window, i));
    }
    return values;
}

// Answers with given growths over a loss of 2, and remembers what it was asked for.
class Asked {
 public:
    // By layer and window.
    explicit Asked(std::map<int, std::vector<double>> growths) : growths_(std::move(growths)) {}

    RaceResult run(RaceMemory &memory) {
        std::vector<int> candidates;
        for (const auto &[layer, growths] : growths_) {
            candidates.push_back(layer);
        }
        return run_race(candidates, n_kinds_, memory, [&](size_t window, int layer) {
            asked_[layer].push_back(window);
            return std::vector<float>(window < n_tokens_.size() ? n_tokens_[window] : k_tokens,
                                      static_cast<float>(-2.0 - growths_.at(layer)[window]));
        });
    }

    // Windows of two kinds, the first two one of each, with so many targets.
    void has_two_kinds(std::vector<size_t> n_tokens) {
        n_tokens_ = std::move(n_tokens);
        n_kinds_ = 2;
    }

    // Windows that this layer was measured on, in order.
    const std::vector<size_t> &windows(int layer) { return asked_[layer]; }

 private:
    std::map<int, std::vector<double>> growths_;
    std::map<int, std::vector<size_t>> asked_;
    std::vector<size_t> n_tokens_;
    size_t n_kinds_ = 1;
};

RaceMemory memory_of(size_t n_windows, std::map<int, std::vector<double>> growths) {
    return {std::vector<double>(n_windows, 2.0), std::move(growths)};
}

TEST(SelectionRace, CandidatesWithBoundsAboveTheBestAreNotMeasured) {
    Asked asked({{1, {0.6, 0.6}}, {2, {0.2, 0.2}}, {3, {0.4, 0.4}}});
    RaceMemory memory = memory_of(2, {{1, {0.5, 0.5}}, {2, {0.1, 0.1}}, {3, {0.3}}});
    const RaceResult result = asked.run(memory);
    EXPECT_EQ(result.layer, 2);
    EXPECT_THAT(asked.windows(2), ElementsAre(0, 1));
    EXPECT_THAT(asked.windows(1), IsEmpty());
    EXPECT_THAT(asked.windows(3), IsEmpty());
    EXPECT_NEAR(result.losses[1], 4.4, 1e-6);
    EXPECT_TRUE(std::isnan(result.losses[0]) && std::isnan(result.losses[2]));
    EXPECT_THAT(memory.growths.at(1), ElementsAre(0.5, 0.5));
    EXPECT_THAT(memory.growths.at(3), ElementsAre(0.3));
}

TEST(SelectionRace, CandidatesWithLowOldBoundsAreMeasuredAgain) {
    Asked asked({{1, {0.9, 0.9}}, {2, {0.3, 0.3}}, {3, {0.25, 0.25}}});
    RaceMemory memory = memory_of(2, {{1, {0.22, 0.22}}, {2, {0.1, 0.1}}, {3, {0.2}}});
    const RaceResult result = asked.run(memory);
    EXPECT_EQ(result.layer, 3);  // though its bound was above that of 2
    EXPECT_THAT(asked.windows(2), ElementsAre(0, 1));
    EXPECT_THAT(asked.windows(3), ElementsAre(0, 1));
    // Measured, as its bound is below 0.25, and given up on its first window; that is what the next
    // round knows of it.
    EXPECT_THAT(asked.windows(1), ElementsAre(0));
    ASSERT_EQ(memory.growths.at(1).size(), 1u);
    EXPECT_NEAR(memory.growths.at(1)[0], 0.9, 1e-6);
    EXPECT_EQ(memory.growths.at(2).size(), 2u);
}

// The next round starts from the winner.
TEST(SelectionRace, MemoryIsThatOfTheNextBase) {
    Asked asked({{1, {0.1, 0.3}}, {2, {0.9, 0.9}}});
    RaceMemory memory = memory_of(2, {});
    EXPECT_EQ(asked.run(memory).layer, 1);
    EXPECT_NEAR(memory.base_losses[0], 2.1, 1e-6);
    EXPECT_NEAR(memory.base_losses[1], 2.3, 1e-6);
    EXPECT_EQ(memory.growths.count(1), 0u);
    EXPECT_EQ(memory.growths.count(2), 1u);
}

// Growth differs between windows: that of a candidate which ran only the hard first one says
// nothing of the others.
TEST(SelectionRace, BoundsAreComparedOnTheWindowsThatTheyAreOf) {
    Asked asked({{1, {1.0, 0.1}}, {2, {0.95, 0.05}}});
    RaceMemory memory = memory_of(2, {{1, {0.5, 0.05}}, {2, {0.9}}});
    EXPECT_EQ(asked.run(memory).layer, 2);  // 0.9 is above 0.55 and below 1.0
    EXPECT_THAT(asked.windows(2), ElementsAre(0, 1));
}

// The best on text is far behind on the windows that ask for a number: 1 leads on the first window
// and loses by the sum. Text alone decided, 8 blocks of it against one of each answer.
TEST(SelectionRace, NoCandidateIsGivenUpBeforeAWindowOfEachKind) {
    const std::vector<size_t> n_tokens = {256, 4, 4, 256, 4, 4};
    Asked asked({{1, {0.1, 0.9, 0.9, 0.1, 0.9, 0.9}}, {2, {0.3, 0.2, 0.2, 0.3, 0.2, 0.2}}});
    asked.has_two_kinds(n_tokens);
    RaceMemory memory = memory_of(6, {});
    EXPECT_EQ(asked.run(memory).layer, 2);
    // The leader ran all windows first, as its old bound is the lower one.
    Asked again({{1, {0.1, 0.9, 0.9, 0.1, 0.9, 0.9}}, {2, {0.3, 0.2, 0.2, 0.3, 0.2, 0.2}}});
    again.has_two_kinds(n_tokens);
    RaceMemory known = memory_of(6, {{1, {0.0, 0.0}}, {2, {0.1, 0.1}}});
    EXPECT_EQ(again.run(known).layer, 2);
    EXPECT_THAT(again.windows(2), ElementsAre(0, 1, 2, 3, 4, 5));
    // Behind on both kinds: the first two windows are enough.
    Asked clear({{1, {0.1, 0.1, 0.1, 0.1}}, {2, {0.3, 0.3, 0.3, 0.3}}});
    clear.has_two_kinds({256, 4, 256, 4});
    RaceMemory none = memory_of(4, {});
    EXPECT_EQ(clear.run(none).layer, 1);
    EXPECT_THAT(clear.windows(2), ElementsAre(0, 1));
}

// By hand. Each window counts alike: differences 0.1 in 32 blocks of one and -0.2 in the single
// block of another have the mean -0.05; as blocks alike they had 0.091, ten errors above zero.
TEST(SelectionRace, TestWeighsWindowsAsTheLossDoes) {
    const WindowBlocks zero = {std::vector<double>(32, 0.0), {0.0}};
    EXPECT_FALSE(is_clearly_behind(WindowBlocks{std::vector<double>(32, 0.1), {-0.2}}, zero));
    EXPECT_TRUE(is_clearly_behind(WindowBlocks{std::vector<double>(32, 0.1), {0.1}}, zero));
    EXPECT_FALSE(is_clearly_behind(WindowBlocks{std::vector<double>(7, 0.1)}, zero)) << "too few";
    // Equal windows: mean 0.45, deviations 0.05, error 0.05 / sqrt(15) = 0.0129, 35 errors; with
    // deviations of 0.45 the error is 0.116, and the mean 3.9 of them.
    const WindowBlocks even = {std::vector<double>(8, 0.0), std::vector<double>(8, 0.0)};
    EXPECT_TRUE(is_clearly_behind(
        WindowBlocks{std::vector<double>(8, 0.4), std::vector<double>(8, 0.5)}, even));
    EXPECT_FALSE(is_clearly_behind(
        WindowBlocks{std::vector<double>(8, 0.0), std::vector<double>(8, 0.9)}, even));
}

// Without any bounds all run the first window; the best there runs all, the others against it.
TEST(SelectionRace, FirstRoundGivesUpMostAfterOneWindow) {
    Asked asked({{1, {0.4, 0.4, 0.4}}, {2, {0.1, 0.1, 0.1}}, {3, {0.3, 0.3, 0.3}}});
    RaceMemory memory = memory_of(3, {});
    EXPECT_EQ(asked.run(memory).layer, 2);
    EXPECT_THAT(asked.windows(1), ElementsAre(0));
    EXPECT_THAT(asked.windows(2), ElementsAre(0, 1, 2));
    EXPECT_THAT(asked.windows(3), ElementsAre(0));
}

TEST(SelectionRace, TiesGoToTheLowestLayer) {
    Asked asked({{1, {0.2, 0.2}}, {2, {0.2, 0.2}}, {3, {0.2, 0.2}}});
    RaceMemory memory = memory_of(2, {});
    EXPECT_EQ(asked.run(memory).layer, 1);
    RaceMemory other = memory_of(2, {{1, {0.1}}, {2, {0.0}}, {3, {0.05}}});
    EXPECT_EQ(asked.run(other).layer, 1);
}

TEST(SelectionRace, LossesThatAreNoNumbersLose) {
    Asked asked({{1, {k_nan, 0.1}}, {2, {0.5, 0.5}}, {3, {0.2, k_nan}}});
    RaceMemory memory = memory_of(2, {});
    const RaceResult result = asked.run(memory);
    EXPECT_EQ(result.layer, 2);
    EXPECT_TRUE(std::isnan(result.losses[0]) && std::isnan(result.losses[2]));
    EXPECT_THAT(asked.windows(1), ElementsAre(0));
    EXPECT_TRUE(std::isinf(memory.growths.at(1)[0]));
    Asked none({{1, {k_nan}}, {2, {k_nan}}});
    RaceMemory empty = memory_of(1, {});
    EXPECT_EQ(none.run(empty).layer, -1);
    EXPECT_THAT(empty.base_losses, ElementsAre(2.0));
}

// A model of 30 layers in which each change hurts by its weight, and all changes together by more
// than their sum.
class Convex {
 public:
    // Rounds of races, or of measuring everything.
    std::vector<int> order(int n_rounds, bool is_race) {
        changed_.clear();
        n_asked_ = 0;
        RaceMemory memory;
        for (size_t w = 0; w < k_windows; ++w) {
            double sum = 0;
            for (float value : log_probs(w, -1)) {
                sum -= static_cast<double>(value);
            }
            memory.base_losses.push_back(sum / k_tokens);
        }
        std::vector<int> order;
        for (int i = 0; i < n_rounds; ++i) {
            order.push_back(is_race ? race(memory) : best());
            changed_.insert(order.back());
        }
        return order;
    }
    int n_asked() const { return n_asked_; }

 private:
    static constexpr size_t k_windows = 4;

    std::vector<int> candidates() const {
        std::vector<int> left;
        for (int layer = 1; layer < 29; ++layer) {
            if (changed_.count(layer) == 0) {
                left.push_back(layer);
            }
        }
        return left;
    }

    int race(RaceMemory &memory) {
        return run_race(candidates(), 1, memory,
                        [&](size_t window, int layer) { return log_probs(window, layer); })
            .layer;
    }

    int best() {
        int best = -1;
        double lowest = std::numeric_limits<double>::infinity();
        for (int layer : candidates()) {
            double loss = 0;
            for (size_t w = 0; w < k_windows; ++w) {
                for (float value : log_probs(w, layer)) {
                    loss -= static_cast<double>(value);
                }
            }
            if (loss < lowest) {
                lowest = loss;
                best = layer;
            }
        }
        return best;
    }

    std::vector<float> log_probs(size_t window, int layer) {
        n_asked_ += layer >= 0 ? 1 : 0;
        double sum = layer >= 0 ? weight(layer) : 0.0;
        for (int changed : changed_) {
            sum += weight(changed);
        }
        return log_probs_of(2.0 + std::pow(sum, 1.2), layer, window);
    }

    static double weight(int layer) { return 0.01 * (1 + (layer * 17) % 29); }

    std::set<int> changed_;
    int n_asked_ = 0;
};

TEST(SelectionRace, OrderIsThatOfMeasuringEverythingForAFractionOfTheWork) {
    Convex model;
    const std::vector<int> brute = model.order(9, false);
    const int n_brute = model.n_asked();
    EXPECT_EQ(n_brute, 4 * 216);  // 28 + 27 + ... + 20 candidates
    EXPECT_EQ(model.order(9, true), brute);
    EXPECT_GT(n_brute, 8 * model.n_asked());
}

}  // namespace
}  // namespace orthorank
