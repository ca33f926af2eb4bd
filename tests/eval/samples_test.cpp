#include "eval/samples.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "data_dir.h"
#include "eval/readers.h"

namespace orthorank {
namespace {

TEST(Samples, RoundTripToTheBit) {
    const ChoiceDocument document = make_choice_document(7, "Q", {"aaaa", "b"}, 1);
    const Sample made = make_choice_sample("piqa", "dense", document, {-4.1, -2.0 / 3});
    Sample answer;
    answer.task = "truthfulqa-gen";
    answer.plan = "sleb-10";
    answer.completion = "\nA: no \xE2";
    answer.bleu = {12.5, 1, 0.1};
    EXPECT_EQ(sample_line(make_choice_sample("piqa", "dense", document, {-4.5, -0.5})),
              "{\"task\":\"piqa\",\"doc\":7,\"plan\":\"dense\",\"ll\":[-4.5,-0.5],\"gold\":1,"
              "\"pred\":1,\"pred_norm\":1}");
    const std::vector<Sample> read =
        samples_in(sample_line(made) + "\n" + sample_line(answer) + "\n", "s.jsonl");
    ASSERT_EQ(read.size(), 2u);
    EXPECT_EQ(read[0].task, "piqa");
    EXPECT_EQ(read[0].doc, 7u);
    EXPECT_EQ(read[0].plan, "dense");
    EXPECT_EQ(read[0].log_likelihoods, made.log_likelihoods);
    EXPECT_EQ(read[0].gold, 1u);
    EXPECT_EQ(read[0].predicted, 1u);
    EXPECT_EQ(read[0].predicted_norm, 1u);  // -1.0 a character against -0.7
    EXPECT_EQ(read[1].completion, "\nA: no \uFFFD");
    EXPECT_EQ(read[1].bleu.diff, 0.1);
}

TEST(Samples, WhatIsNotFiniteIsNull) {
    Sample sample;
    sample.log_likelihoods = {-std::numeric_limits<double>::infinity(), -1};
    const std::string line = sample_line(sample);
    EXPECT_NE(line.find("\"ll\":[null,-1.0]"), std::string::npos) << line;
    EXPECT_TRUE(std::isnan(samples_in(line + "\n", "s.jsonl")[0].log_likelihoods[0]));
}

TEST(Samples, ABadLineIsNamed) {
    Sample sample;
    sample.log_likelihoods = {-1};
    const std::string line = sample_line(sample) + "\n";
    EXPECT_TRUE(samples_in("", "s.jsonl").empty());
    EXPECT_EQ(error_of([&] { samples_in(line + "{\"task\": 1}\n", "s.jsonl"); }),
              "format|s.jsonl:2: field 'task' is number, expected a text");
}

}  // namespace
}  // namespace orthorank
