#include "eval/scoring.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/readers.h"
#include "eval/scoring_input.h"

namespace orthorank {
namespace {

TEST(Scoring, ArgmaxTakesTheFirstOfEqualsAndNoNan) {
    EXPECT_EQ(argmax(std::vector<double>{1, 3, 3}), 1u);
    EXPECT_EQ(argmax(std::vector<double>{std::nan(""), -5}), 1u);
}

TEST(Scoring, AccNormDividesByUnicodeCharactersWithoutTheBlank) {
    // five characters each; the first has ten bytes
    const ChoiceDocument document =
        make_choice_document(0, "Q", {"\u00e9\u00e9\u00e9\u00e9\u00e9", "aaaaa", "aaaaaaaaaa"}, 1);
    EXPECT_EQ(document.choice_characters, (std::vector<size_t>{5, 5, 10}));
    const ChoiceScore score = score_choices(document, std::vector<double>{-9, -8, -10});
    EXPECT_EQ(score.predicted, 1u);
    EXPECT_EQ(score.acc, 1);
    EXPECT_EQ(score.predicted_norm, 2u);  // -1.8, -1.6, -1.0; by bytes the same
    EXPECT_EQ(score.acc_norm, 0);
    // by bytes the first would win (-0.9 against -1.6)
    EXPECT_EQ(score_choices(document, std::vector<double>{-9, -8, -20}).predicted_norm, 1u);
}

TEST(Scoring, Mc2IsTheProbabilityOfTheTrueChoices) {
    const std::vector<double> ll{std::log(0.1), std::log(0.2), std::log(0.1)};
    EXPECT_NEAR(probability_of_true(ll, std::vector<int>{1, 0, 1}), 0.5, 1e-12);
    // labels need not be sorted, and nothing underflows
    EXPECT_NEAR(probability_of_true(std::vector<double>{-2000, -2000}, std::vector<int>{0, 1}), 0.5,
                1e-12);
}

TEST(Scoring, MetricOfATask) {
    ChoiceScore score;
    score.acc = 1;
    score.mc2 = 0.25;
    EXPECT_EQ(metric_value(score, Metric::acc), 1);
    EXPECT_EQ(metric_value(score, Metric::acc_norm), 0);
    EXPECT_EQ(metric_value(score, Metric::mc2), 0.25);
    EXPECT_EQ(metric_name(Metric::acc_norm), "acc_norm");
}

TEST(Scoring, MeansAndErrors) {
    const Estimate estimate = estimate_mean(std::vector<double>{1, 0, 0, 1});
    EXPECT_DOUBLE_EQ(estimate.mean, 0.5);
    EXPECT_DOUBLE_EQ(estimate.standard_error, std::sqrt(1.0 / 3) / 2);
    EXPECT_EQ(estimate.n, 4u);
}

TEST(Scoring, PairedDifferenceHasItsOwnError) {
    const Estimate difference = estimate_paired_difference(std::vector<double>{1, 0, 0, 1},
                                                           std::vector<double>{1, 1, 0, 1});
    EXPECT_DOUBLE_EQ(difference.mean, -0.25);
    EXPECT_DOUBLE_EQ(difference.standard_error, 0.25);  // sd of (0,-1,0,0) is 0.5
    const std::vector<double> same{1, 0, 1};
    EXPECT_EQ(estimate_paired_difference(same, same).standard_error, 0);
}

TEST(Scoring, MeanOfTasksCountsEachTaskTheSame) {
    const std::vector<Estimate> tasks{{0.5, 0.03, 100}, {0.7, 0.04, 1000}};
    const Estimate all = mean_of_tasks(tasks);
    EXPECT_DOUBLE_EQ(all.mean, 0.6);
    EXPECT_DOUBLE_EQ(all.standard_error, 0.025);
    EXPECT_EQ(all.n, 1100u);
}

// A tokenizer of one id a byte, except that "ab" is one id (1000): enough for a merge across the
// border.
std::vector<int32_t> bytes_with_one_merge(const std::string &text) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < text.size(); i++) {
        if (text.compare(i, 2, "ab") == 0) {
            ids.push_back(1000);
            i++;
        } else {
            ids.push_back(static_cast<unsigned char>(text[i]));
        }
    }
    return ids;
}

using Ids = std::vector<int32_t>;

TEST(ScoringInput, TrailingWhitespaceMovesToTheContinuation) {
    const TextPair moved = move_trailing_space({"Answer: \u00a0", " x"});
    EXPECT_EQ(moved.context, "Answer:");
    EXPECT_EQ(moved.continuation, " \u00a0 x");
    const ScoringInput input = make_scoring_input({"q ", "x"}, bytes_with_one_merge, 100);
    EXPECT_EQ(input.ids, (Ids{'q', ' '}));
    EXPECT_EQ(input.targets, (Ids{' ', 'x'}));
    EXPECT_EQ(input.first_row(), 0u);
}

TEST(ScoringInput, ContinuationIsCutByCountWhereAMergeCrossesTheBorder) {
    // whole: x [ab] c d -> 4 ids; context: x a -> 2 ids; so the targets are c d and "b" is lost
    const ScoringInput input = make_scoring_input({"xa", "bcd"}, bytes_with_one_merge, 100);
    EXPECT_EQ(input.targets, (Ids{'c', 'd'}));
    EXPECT_EQ(input.ids, (Ids{'x', 'a', 'c'}));
}

// Texts of a model that needs BOS begin with it: the context once, and an empty one is it alone.
TEST(ScoringInput, BosComesOnce) {
    const auto tokenize = [](const std::string &text) {
        Ids ids = bytes_with_one_merge(text);
        ids.insert(ids.begin(), 1);
        return ids;
    };
    ScoringInput input = make_scoring_input({"x", " c"}, tokenize, 100, 1);
    EXPECT_EQ(input.ids, (Ids{1, 'x', ' '}));
    EXPECT_EQ(input.targets, (Ids{' ', 'c'}));
    input = make_scoring_input({"", "cd"}, tokenize, 100, 1);
    EXPECT_EQ(input.ids, (Ids{1, 'c'}));
    EXPECT_EQ(input.targets, (Ids{'c', 'd'}));
}

TEST(ScoringInput, TooLongIsCutFromTheLeft) {
    const ScoringInput input = make_scoring_input({"12345", " 67"}, bytes_with_one_merge, 4);
    EXPECT_EQ(input.n_cut, 3u);
    EXPECT_EQ(input.ids, (Ids{'4', '5', ' ', '6'}));
    EXPECT_EQ(input.targets, (Ids{' ', '6', '7'}));
    EXPECT_EQ(input.first_row(), 1u);
}

TEST(ScoringInput, EmptyContextNeedsAnId) {
    const ScoringInput input = make_scoring_input({"", "yz"}, bytes_with_one_merge, 100, 7);
    EXPECT_EQ(input.ids, (Ids{7, 'y'}));
    EXPECT_EQ(input.targets, (Ids{'y', 'z'}));
}

TEST(ScoringInput, CommonIds) {
    const std::vector<ScoringInput> inputs{
        make_scoring_input({"q", " xy"}, bytes_with_one_merge, 9),
        make_scoring_input({"q", " xz"}, bytes_with_one_merge, 9),
        make_scoring_input({"q", " w"}, bytes_with_one_merge, 9)};
    EXPECT_EQ(n_common_ids(inputs), 2u);
    EXPECT_EQ(n_common_ids({}), 0u);
}

}  // namespace
}  // namespace orthorank
