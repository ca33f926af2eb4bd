#include "select/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Rows = std::vector<int32_t>;
using Scores = std::vector<float>;

constexpr float k_inf = std::numeric_limits<float>::infinity();
constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();

// The specification's worked example (section 2), continued by three decoded tokens (section 3).
const Scores k_example = {k_inf, 5.0f, 0.2f, 1.0f, 0.2f, 3.0f, 0.1f, 0.15f, 0.2f, 0.12f};

Scores prefix(const Scores &scores, size_t n) {
    return {scores.begin(), scores.begin() + n};
}

// The rule written down plainly: sort all positions, take k, keep the new ones, sort by position.
Rows pick_rows_plainly(PickOrder order, const Scores &scores, int64_t n_past, double ratio) {
    Rows all(scores.size());
    std::iota(all.begin(), all.end(), 0);
    const auto class_of = [&scores](int32_t i) {
        return i == 0 ? 2 : scores[i] != scores[i] ? 1 : 0;
    };
    std::stable_sort(all.begin(), all.end(), [&](int32_t a, int32_t b) {
        if (class_of(a) != class_of(b) || class_of(a) != 0) {
            return class_of(a) < class_of(b);
        }
        return order == PickOrder::smallest ? scores[a] < scores[b] : scores[a] > scores[b];
    });
    all.resize(static_cast<size_t>(ratio * static_cast<double>(scores.size())));
    std::sort(all.begin(), all.end());
    all.erase(all.begin(), std::lower_bound(all.begin(), all.end(), n_past));
    return all;
}

TEST(NSelected, TableOfTheSpecification) {
    EXPECT_EQ(n_selected(0.333, 101), 33);
    EXPECT_EQ(n_selected(0.333, 512), 170);
    EXPECT_EQ(n_selected(0.333, 1024), 340);
    EXPECT_EQ(n_selected(0.333, 2048), 681);
    EXPECT_EQ(n_selected(0.333, 4096), 1363);
    EXPECT_EQ(n_selected(0.333, 7500), 2497);
    EXPECT_EQ(n_selected(0.333, 8192), 2727);
    EXPECT_EQ(n_selected(1.0 / 3.0, 2048), 682);
    EXPECT_EQ(n_selected(0.33, 2048), 675);
}

TEST(NSelected, Ends) {
    EXPECT_EQ(n_selected(0.0, 2048), 0);
    EXPECT_EQ(n_selected(1.0, 2048), 2048);
    EXPECT_EQ(n_selected(0.999, 1), 0);
    EXPECT_EQ(n_selected(1.0, 0), 0);
    EXPECT_EQ(n_selected(0.29, 100), 28);  // 0.29 * 100 < 29 in double, as in Python's int()
}

TEST(NSelected, RatioOutOfRangeIsOurBug) {
    EXPECT_THROW(n_selected(-0.1, 8), InternalError);
    EXPECT_THROW(n_selected(1.1, 8), InternalError);
    EXPECT_THROW(n_selected(std::numeric_limits<double>::quiet_NaN(), 8), InternalError);
    EXPECT_THROW(n_selected(0.5, -1), InternalError);
}

TEST(PickRows, WorkedExamplePrefill) {
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 0, 0.333), ElementsAre(2, 6));
}

TEST(PickRows, WorkedExampleDecode) {
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 8), 7, 0.333), ElementsAre(7));
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 9), 8, 0.333), IsEmpty());
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 10), 9, 0.333), ElementsAre(9));
}

TEST(PickRows, LargestFirst) {
    EXPECT_THAT(pick_rows(PickOrder::largest, prefix(k_example, 7), 0, 0.5), ElementsAre(1, 3, 5));
}

TEST(PickRows, SinkComesLastWhateverItsScore) {
    for (float sink : {k_inf, -k_inf, 0.0f, k_nan}) {
        const Scores scores = {sink, 2.0f, k_nan, 1.0f};
        for (PickOrder order : {PickOrder::smallest, PickOrder::largest}) {
            EXPECT_THAT(pick_rows(order, scores, 0, 0.75), ElementsAre(1, 2, 3));
            EXPECT_THAT(pick_rows(order, scores, 0, 1.0), ElementsAre(0, 1, 2, 3));
        }
    }
}

TEST(PickRows, NanComesAfterEveryNumber) {
    const Scores scores = {0.0f, k_nan, k_inf, -k_inf, -k_nan, 1.0f};
    for (PickOrder order : {PickOrder::smallest, PickOrder::largest}) {
        EXPECT_THAT(pick_rows(order, scores, 0, 0.5), ElementsAre(2, 3, 5));
        EXPECT_THAT(pick_rows(order, scores, 0, 4.0 / 6.0), ElementsAre(1, 2, 3, 5));
    }
    EXPECT_THAT(pick_rows(PickOrder::smallest, scores, 0, 0.2), ElementsAre(3));
    EXPECT_THAT(pick_rows(PickOrder::largest, scores, 0, 0.2), ElementsAre(2));
}

TEST(PickRows, TiesGoToTheLowerPosition) {
    const Scores scores(9, 1.0f);
    for (PickOrder order : {PickOrder::smallest, PickOrder::largest}) {
        EXPECT_THAT(pick_rows(order, scores, 0, 0.34), ElementsAre(1, 2, 3));
        EXPECT_THAT(pick_rows(order, scores, 8, 0.8), IsEmpty());
        EXPECT_THAT(pick_rows(order, scores, 8, 0.89), ElementsAre(8));
    }
}

TEST(PickRows, ZeroHasNoSign) {
    const Scores scores = {9.0f, 0.0f, -0.0f, 0.0f, -0.0f};
    for (PickOrder order : {PickOrder::smallest, PickOrder::largest}) {
        EXPECT_THAT(pick_rows(order, scores, 0, 0.4), ElementsAre(1, 2));
        EXPECT_THAT(pick_rows(order, scores, 4, 0.6), IsEmpty());
    }
}

TEST(PickRows, NothingAndEverything) {
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 0, 0.0), IsEmpty());
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 0, 0.14), IsEmpty());
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 0, 0.15), ElementsAre(6));
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 0, 1.0),
                ElementsAre(0, 1, 2, 3, 4, 5, 6));
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 7, 1.0), IsEmpty());
    EXPECT_THAT(pick_rows(PickOrder::smallest, {}, 0, 1.0), IsEmpty());
}

TEST(PickRows, PromptOfOneToken) {
    const Scores sink = {k_inf};
    EXPECT_THAT(pick_rows(PickOrder::smallest, sink, 0, 0.999), IsEmpty());
    EXPECT_THAT(pick_rows(PickOrder::smallest, sink, 0, 1.0), ElementsAre(0));
}

TEST(PickRows, LaterTurnIsRankedAmongAllScores) {
    // New rows 4..6 of 7, k = 2: the two best of all are 2 and 6.
    EXPECT_THAT(pick_rows(PickOrder::smallest, prefix(k_example, 7), 4, 0.333), ElementsAre(6));
    // All better, or all worse, than what is there: more than k of the new rows, or none.
    const Scores better = {9, 5, 5, 5, 5, 5, 1, 2, 1};
    EXPECT_THAT(pick_rows(PickOrder::smallest, better, 6, 0.34), ElementsAre(6, 7, 8));
    EXPECT_THAT(pick_rows(PickOrder::largest, better, 6, 0.34), IsEmpty());
}

TEST(PickRows, BadCallIsOurBug) {
    EXPECT_THROW(pick_rows(PickOrder::smallest, k_example, 11, 0.333), InternalError);
    EXPECT_THROW(pick_rows(PickOrder::smallest, k_example, -1, 0.333), InternalError);
    EXPECT_THROW(pick_rows(PickOrder::smallest, k_example, 0, 1.5), InternalError);
}

TEST(PickRows, DecodeEqualsPickingOnPrefixes) {
    std::mt19937 random(5);
    Scores scores(300);
    for (float &score : scores) {
        score = static_cast<float>(random() % 50);
    }
    for (PickOrder order : {PickOrder::smallest, PickOrder::largest}) {
        for (size_t n = 1; n <= scores.size(); ++n) {
            const Scores seen = prefix(scores, n);
            const int32_t last = static_cast<int32_t>(n) - 1;
            const Rows full = pick_rows(order, seen, 0, 0.333);
            const Rows decoded = pick_rows(order, seen, last, 0.333);
            const bool is_in_full = !full.empty() && full.back() == last;
            ASSERT_EQ(decoded, is_in_full ? Rows{last} : Rows{}) << "n = " << n;
        }
    }
}

TEST(PickRows, EqualsAPlainSortOnRandomScores) {
    std::mt19937 random(11);
    for (int trial = 0; trial < 3000; ++trial) {
        const size_t n = 1 + random() % 70;
        const uint64_t n_values = 1 + random() % 40;  // few values: many ties
        Scores scores(n);
        for (float &score : scores) {
            const uint64_t draw = random() % 20;
            score = draw == 0   ? k_nan
                    : draw == 1 ? k_inf
                    : draw == 2 ? -k_inf
                                : static_cast<float>(random() % n_values) - 5.0f;
        }
        const double ratio = random() % 8 == 0 ? 1.0 : static_cast<double>(random() % 1000) / 999.0;
        const int64_t n_past = static_cast<int64_t>(random() % (n + 1));
        const PickOrder order = random() % 2 == 0 ? PickOrder::smallest : PickOrder::largest;
        ASSERT_EQ(pick_rows(order, scores, n_past, ratio),
                  pick_rows_plainly(order, scores, n_past, ratio));
        ASSERT_EQ(pick_rows(order, scores, 0, ratio), pick_rows_plainly(order, scores, 0, ratio));
    }
}

TEST(PickRows, DoesNotChangeWhenAllScoresAreScaled) {  // invariant 9
    std::mt19937 random(13);
    Scores scores(500);
    for (float &score : scores) {
        score = static_cast<float>(random() % 1000);
    }
    Scores scaled = scores;
    for (float &score : scaled) {
        score *= 64.0f;
    }
    EXPECT_EQ(pick_rows(PickOrder::smallest, scores, 0, 0.333),
              pick_rows(PickOrder::smallest, scaled, 0, 0.333));
}

}  // namespace
}  // namespace orthorank
