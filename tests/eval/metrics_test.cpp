// The metrics by hand: the vectors of the published definitions, written out.
#include <gtest/gtest.h>

#include "data_dir.h"
#include "eval/bleu.h"
#include "eval/longbench_scores.h"
#include "eval/rouge.h"

namespace orthorank {
namespace {

using Texts = std::vector<std::string>;

TEST(Bleu, PublishedVectors) {
    const std::string seeds = "The watermelon seeds pass through your digestive system.";
    EXPECT_NEAR(bleu("\nA: " + seeds, seeds), 78.6075, 5e-5);
    EXPECT_EQ(bleu("Nothing happens.", "Nothing happens."), 0);  // three words
    EXPECT_NEAR(bleu("I have no comment.", "I have no comment."), 100, 1e-9);
    EXPECT_NEAR(bleu("The cost is 5.50 dollars.", "The cost is $5.50 (approx)."), 20.8219, 5e-5);
    EXPECT_NEAR(bleu("You grow watermelons in your stomach and nothing happens to them.",
                     "You eat watermelon seeds and nothing happens to you."),
                23.4624, 5e-5);
    EXPECT_NEAR(bleu("xyz uvw rst opq.", "abc def ghi jkl."), 10.6822, 5e-5);
    EXPECT_EQ(bleu("", "abc def ghi jkl."), 0);
}

TEST(Bleu, Words) {
    EXPECT_EQ(bleu_words("\nA: It's $5.50, isn't it? (Yes.) In 1999."),
              (Texts{"A", ":", "It", "'", "s", "$", "5.50", ",", "isn", "'", "t", "it", "?", "(",
                     "Yes", ".", ")", "In", "1999."}));
    EXPECT_EQ(bleu_words("3,000.5 x-ray A.B. U.S."),
              (Texts{"3,000.5", "x", "-", "ray", "A", ".", "B", ".", "U", ".", "S", "."}));
}

TEST(Bleu, ReferencesAreFormatted) {
    const References references =
        format_references({" Yes", "No.", "  ", ""}, {"Maybe \n", "I have no comment"});
    EXPECT_EQ(references.correct, (Texts{"Yes.", "No.", "I have no comment."}));
    EXPECT_EQ(references.incorrect, (Texts{"Maybe.", "I have no comment."}));
    EXPECT_EQ(format_references({"I have no comment"}, {}).correct, Texts{"I have no comment."});
}

TEST(Bleu, ScoresAreMaxAccDiff) {
    const References references{{"I have no comment.", "It is a red bird."},
                                {"It is a blue bird."}};
    const BleuScores right = bleu_scores("It is a red bird.", references);
    EXPECT_NEAR(right.max, 100, 1e-9);
    EXPECT_EQ(right.acc, 1);
    EXPECT_NEAR(right.diff, 100 - bleu("It is a red bird.", "It is a blue bird."), 1e-9);
    const BleuScores nothing = bleu_scores("", references);
    EXPECT_EQ(nothing.max, 0);
    EXPECT_EQ(nothing.acc, 0);  // equal is not above
    EXPECT_EQ(nothing.diff, 0);
}

TEST(Bleu, CompletionIsCutAtTheFirstBlankLine) {
    EXPECT_EQ(cut_completion("\nA: Yes.\n\nQ: more"), "\nA: Yes.");
    EXPECT_EQ(cut_completion("\n\nA: Yes."), "");
    EXPECT_EQ(cut_completion(" Yes.\n"), " Yes.\n");
}

TEST(RougeL, PublishedVectors) {
    EXPECT_NEAR(rouge_l("the cat sat on the mat.", "the cat is on the mat"), 0.799999995, 1e-10);
    EXPECT_NEAR(rouge_l("The cat sat. The dog ran.", "the cat sat. The dog ran fast."),
                0.8333333285, 1e-9);
    EXPECT_NEAR(rouge_l("Hello. ", "Hello"), 0.6666666622, 1e-9);
    EXPECT_NEAR(rouge_l("a b c d e. f g h", "e d c b a. h f"), 0.2666666617, 1e-9);
    EXPECT_NEAR(
        rouge_l("police killed the gunman. Police ended the gunman", "police killed the gunman"),
        0.7999999952, 1e-9);
    EXPECT_NEAR(rouge_l("a b a b a b", "a b"), 0.999999995, 1e-9);
    EXPECT_NEAR(rouge_l("U.S. growth was 3.5 percent in 2019", "U.S. growth hit 3.5 percent"),
                0.7499999951, 1e-9);
    EXPECT_EQ(rouge_l("", "a"), 0);
    EXPECT_EQ(rouge_l("...", "a"), 0);
}

TEST(LongBenchScores, F1) {
    EXPECT_EQ(answer_words("The  Eiffel-Tower, in a Paris!"),
              (Texts{"eiffeltower", "in", "paris"}));
    EXPECT_EQ(answer_words("A.B. the-an"), (Texts{"ab", "thean"}));
    EXPECT_DOUBLE_EQ(answer_f1("The answer is Paris, France", "Paris"), 0.4);
    EXPECT_DOUBLE_EQ(answer_f1("yes yes no", "yes no"), 0.8);
    EXPECT_EQ(answer_f1("", ""), 0);
    EXPECT_EQ(answer_f1("a", "the"), 0);
}

TEST(LongBenchScores, Classification) {
    const std::string description = "Description of a person";
    EXPECT_EQ(classification_score("Type: " + description, description,
                                   {description, "Description", "person", "x"}),
              0.5);
    EXPECT_EQ(classification_score("ab abc b", "abc", {"a", "b", "abc", "ab", "zz"}), 0.5);
    EXPECT_EQ(
        classification_score("Other number", "Other number", {"Number", "Other number", "Other"}),
        1);
}

TEST(LongBenchScores, CountAndRetrieval) {
    EXPECT_EQ(count_score("12 or 13", "12"), 0.5);
    EXPECT_EQ(count_score("05", "5"), 0);  // compared as text
    EXPECT_EQ(count_score("", "5"), 0);
    EXPECT_EQ(retrieval_score("Paragraph 3, then 4", "Paragraph 3"), 0.5);
    EXPECT_EQ(retrieval_score("3", "no number"), 0);
}

TEST(Similarity, PublishedVectors) {
    EXPECT_EQ(similarity_ratio("return x + y", "return x+y"), 91);
    EXPECT_EQ(similarity_ratio("    return foo(bar)", "return foo(bar)"), 88);
    EXPECT_EQ(similarity_ratio("ab", "ba"), 50);
    EXPECT_EQ(
        similarity_ratio("private static final int A = 1;", "private final static int B = 2;"), 74);
    EXPECT_EQ(similarity_ratio("kitten", "sitting"), 62);
    EXPECT_EQ(similarity_ratio("self.x = 1", "self.y = 10"), 86);
    EXPECT_EQ(similarity_ratio("", ""), 100);
    EXPECT_EQ(similarity_ratio("", "x"), 0);
}

TEST(Similarity, FrequentCharactersOfALongTextAreJunk) {
    const std::string many(250, 'b');
    EXPECT_EQ(similarity_ratio("aaa" + many, many + "aaa"), 1);
    EXPECT_EQ(similarity_ratio("aaa" + many, many + "aaa", Similarity::levenshtein), 99);
}

TEST(LongBenchScores, CodeSkipsCommentLines) {
    EXPECT_EQ(code_score("\n# c\n`x`\n// y\nx = 1\nz", "x = 1"), 1);
    EXPECT_EQ(code_score("# only", "x"), 0);
    EXPECT_EQ(code_score("# only", ""), 1);
}

TEST(LongBenchScores, FirstLineOnlyWhereTheSetSaysSo) {
    EXPECT_EQ(scored_text(longbench_set("triviaqa"), "\n\nParis\nPassage:"), "Paris");
    EXPECT_EQ(scored_text(longbench_set("triviaqa"), "\n\n"), "");
    EXPECT_EQ(scored_text(longbench_set("hotpotqa"), "\nParis\nPassage:"), "\nParis\nPassage:");
}

TEST(LongBenchScores, SetScoreIsTheMeanOfTheBestAnswers) {
    const LongBenchSet &set = longbench_set("triviaqa");
    const std::vector<Prediction> predictions{{"Paris\n", {"Rome", "Paris"}, {}, 1},
                                              {"in Rome", {"Paris"}, {}, 1},
                                              {"yes yes no", {"yes no"}, {}, 1}};
    EXPECT_EQ(longbench_set_score(set, predictions), 60);
    EXPECT_EQ(longbench_set_score(set, {predictions[0], predictions[1], predictions[1]}), 33.33);
    EXPECT_EQ(longbench_set_score(set, {}), 0);
    EXPECT_EQ(error_of([&] { longbench_set_score(longbench_set("trec"), predictions); }),
              "format|a prediction of set trec has no all_classes");
}

}  // namespace
}  // namespace orthorank
