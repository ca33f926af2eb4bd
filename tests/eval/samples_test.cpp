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
    const DataDir dir;
    const std::string path =
        dir.write("s.jsonl", sample_line(made) + "\n" + sample_line(answer) + "\n");
    const Samples read = read_samples(path);
    ASSERT_EQ(read.samples.size(), 2u);
    EXPECT_EQ(read.samples[0].task, "piqa");
    EXPECT_EQ(read.samples[0].doc, 7u);
    EXPECT_EQ(read.samples[0].plan, "dense");
    EXPECT_EQ(read.samples[0].log_likelihoods, made.log_likelihoods);
    EXPECT_EQ(read.samples[0].gold, 1u);
    EXPECT_EQ(read.samples[0].predicted, 1u);
    EXPECT_EQ(read.samples[0].predicted_norm, 1u);  // -1.0 a character against -0.7
    EXPECT_EQ(read.samples[1].completion, "\nA: no \uFFFD");
    EXPECT_EQ(read.samples[1].bleu.diff, 0.1);
    EXPECT_EQ(read.n_bytes, std::filesystem::file_size(path));
}

TEST(Samples, WhatIsNotFiniteIsNull) {
    Sample sample;
    sample.log_likelihoods = {-std::numeric_limits<double>::infinity(), -1};
    const std::string line = sample_line(sample);
    EXPECT_NE(line.find("\"ll\":[null,-1.0]"), std::string::npos) << line;
    const DataDir dir;
    EXPECT_TRUE(
        std::isnan(read_samples(dir.write("s.jsonl", line + "\n")).samples[0].log_likelihoods[0]));
}

TEST(Samples, AnUnfinishedLastLineIsLeftOut) {
    const DataDir dir;
    Sample sample;
    sample.log_likelihoods = {-1};
    const std::string line = sample_line(sample) + "\n";
    // cut inside a character, as an interrupted write may leave it
    const Samples read = read_samples(dir.write("s.jsonl", line + "{\"task\": \"\xC3"));
    EXPECT_EQ(read.samples.size(), 1u);
    EXPECT_EQ(read.n_bytes, line.size());
    EXPECT_TRUE(read_samples(dir.str() + "/none.jsonl").samples.empty());
    const std::string bad = dir.write("bad.jsonl", line + "{\"task\": 1}\n");
    EXPECT_EQ(error_of([&] { read_samples(bad); }),
              "format|" + bad + ":2: field 'task' is number, expected a text");
}

}  // namespace
}  // namespace orthorank
