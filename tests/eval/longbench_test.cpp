#include "eval/longbench.h"
#include "base/utf8.h"

#include <gtest/gtest.h>

#include "data_dir.h"

namespace orthorank {
namespace {

using Ids = std::vector<int32_t>;

// One id a byte behind a BOS of 1; decoding leaves the BOS out and may end inside a character.
PromptTokenizer byte_tokenizer() {
    PromptTokenizer tokenizer;
    tokenizer.encode = [](const std::string &text) {
        Ids ids{1};
        for (const char c : text) {
            ids.push_back(256 + static_cast<unsigned char>(c));
        }
        return ids;
    };
    tokenizer.decode = [](const Ids &ids) {
        std::string text;
        for (const int32_t id : ids) {
            if (id >= 256) {
                text += static_cast<char>(id - 256);
            }
        }
        return text;
    };
    return tokenizer;
}

std::string text_of(const Ids &ids) {
    return byte_tokenizer().decode(ids);
}

TEST(LongBench, SixteenSets) {
    EXPECT_EQ(longbench_sets().size(), 16u);
    size_t n_records = 0;
    for (const LongBenchSet &set : longbench_sets()) {
        n_records += set.n_records;
        EXPECT_NE(set.prompt.find("{context}"), std::string_view::npos) << set.name;
    }
    EXPECT_EQ(n_records, 3750u);
    EXPECT_EQ(longbench_set("gov_report").max_new_tokens, 512u);
    EXPECT_TRUE(longbench_set("samsum").stops_at_newline);
    EXPECT_FALSE(longbench_set("trec").stops_at_newline);
}

TEST(LongBench, PromptIsFilledInOnePass) {
    LongBenchRecord record;
    record.context = "c {input} {context}";
    record.input = "i {context}";
    EXPECT_EQ(fill_prompt(longbench_set("trec"), record),
              "Please determine the type of the question below. Here are some examples of "
              "questions.\n\nc {input} {context}\ni {context}");
    EXPECT_EQ(fill_prompt(longbench_set("lcc"), record),
              "Please complete the code given below. \nc {input} {context}Next line of code:\n");
}

TEST(LongBench, ShortPromptIsNotCut) {
    const TruncatedPrompt prompt = truncate_middle("abc", 4, byte_tokenizer());
    EXPECT_FALSE(prompt.is_cut);
    EXPECT_EQ(prompt.ids, byte_tokenizer().encode("abc"));
    EXPECT_EQ(prompt.n_original, 4u);
}

TEST(LongBench, MiddleIsCutOutAndTheRestEncodedAgain) {
    const TruncatedPrompt prompt = truncate_middle("abcdefghij", 5, byte_tokenizer());
    EXPECT_TRUE(prompt.is_cut);
    EXPECT_EQ(prompt.n_original, 11u);
    // half = 2: BOS and "a", then "ij"; the BOS is decoded to nothing and put back once
    EXPECT_EQ(prompt.ids, byte_tokenizer().encode("aij"));
}

TEST(LongBench, TruncationPassesOnNoHalfCharacter) {
    const std::string text = "ab\U0001F600cdefgh\u00e9x";
    const TruncatedPrompt prompt = truncate_middle(text, 10, byte_tokenizer());
    // kept: BOS a b F0 9F, and g h C3 A9 x
    const std::string result = text_of(prompt.ids);
    EXPECT_EQ(find_invalid_utf8(result), std::string_view::npos);
    EXPECT_EQ(result, "ab\uFFFDgh\u00e9x");
    // kept: BOS a, and A9 x
    EXPECT_EQ(text_of(truncate_middle(text, 5, byte_tokenizer()).ids), "a\uFFFDx");
}

TEST(LongBench, DecodersThatCleanUpSpacesActOnTheHalves) {
    EXPECT_EQ(clean_up_spaces("a . b ? c ! d , e ' f do n't I 'm he 's we 've you 're"),
              "a. b? c! d, e'f don't I'm he's we've you're");
    PromptTokenizer tokenizer = byte_tokenizer();
    tokenizer.cleans_spaces = true;
    EXPECT_EQ(text_of(truncate_middle("a ,bcdefghi ?", 8, tokenizer).ids), "a,hi?");
}

TEST(LongBench, MaxLengthBelowTwoIsRefused) {
    EXPECT_EQ(error_of([] { truncate_middle("abc", 1, byte_tokenizer()); }),
              "usage|the longest prompt is given as 1 tokens; at least 2 are needed");
}

TEST(LongBench, RecordsAreReadAndAPartOfASetIsSaidToBeOne) {
    const DataDir dir;
    const std::string line =
        "{\"input\": \"q\", \"context\": \"c\", \"answers\": [\"a\", \"b\"], \"length\": 7, "
        "\"dataset\": \"qasper\", \"language\": \"en\", \"all_classes\": null, \"_id\": \"x\"}\n";
    dir.write("longbench/qasper.first2.jsonl", line);
    dir.write("longbench/qasper.first10.jsonl", line + line);
    const LongBenchData data = read_longbench(longbench_set("qasper"), dir.str());
    EXPECT_TRUE(data.file.ends_with("qasper.first10.jsonl"));
    EXPECT_FALSE(data.is_complete);
    ASSERT_EQ(data.records.size(), 2u);
    EXPECT_EQ(data.records[1].index, 1u);
    EXPECT_EQ(data.records[1].answers, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(data.records[1].length, 7u);
    EXPECT_FALSE(data.records[1].all_classes.has_value());
}

TEST(LongBench, PredictionsRoundTrip) {
    LongBenchRecord record;
    record.answers = {"a \"b\"\n", "\u00e9"};
    record.length = 12;
    record.all_classes = std::vector<std::string>{"x", "y"};
    const DataDir dir;
    const std::string first = prediction_line(make_prediction(record, "p\n\u00e9 \xE2\x82"));
    record.all_classes.reset();
    const std::string path =
        dir.write("trec.jsonl", first + "\n" + prediction_line(make_prediction(record, "")) + "\n");
    EXPECT_EQ(first,
              "{\"pred\":\"p\\n\u00e9 \uFFFD\",\"answers\":[\"a \\\"b\\\"\\n\",\"\u00e9\"],"
              "\"all_classes\":[\"x\",\"y\"],\"length\":12}");
    const std::vector<Prediction> read = read_predictions(path);
    ASSERT_EQ(read.size(), 2u);
    EXPECT_EQ(read[0].text, "p\n\u00e9 \uFFFD");
    EXPECT_EQ(read[0].answers, record.answers);
    EXPECT_EQ(read[0].all_classes->size(), 2u);
    EXPECT_EQ(read[0].length, 12u);
    EXPECT_FALSE(read[1].all_classes.has_value());
}

}  // namespace
}  // namespace orthorank
