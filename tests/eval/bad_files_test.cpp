// Each kind of bad file has its own message, which names the file and the line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data_dir.h"
#include "eval/documents.h"
#include "eval/longbench.h"
#include "eval/longbench_scores.h"
#include "eval/records.h"
#include "eval/scoring_input.h"
#include "eval/streams.h"

namespace orthorank {
namespace {

std::string choice_error(const char *task, const DataDir &dir) {
    return error_of([&] { read_choice_task(task, dir.str()); });
}

std::string arc_error(const std::string &line) {
    const DataDir dir;
    const std::string path = dir.write("arc/ARC-Easy-Test.jsonl", "\n" + line);
    std::string message = choice_error("arc-easy", dir);
    const size_t at = message.find(path);
    return at == std::string::npos ? message : message.replace(at, path.size(), "FILE");
}

TEST(BadFiles, UnknownTask) {
    EXPECT_EQ(error_of([] { read_choice_task("boolq", "."); }),
              "usage|unknown task 'boolq' (known: piqa, winogrande, hellaswag, arc-easy, "
              "arc-challenge, truthfulqa-mc1, truthfulqa-mc2, truthfulqa-gen)");
}

TEST(BadFiles, MissingFileNamesWhatWasLookedFor) {
    const DataDir dir;
    EXPECT_EQ(choice_error("winogrande", dir),
              "file|no data for task winogrande under " + dir.str() +
                  ": looked for winogrande/dev.jsonl, winogrande_1.1/dev.jsonl, "
                  "winogrande/winogrande_xl-validation.jsonl, winogrande_xl-validation.jsonl");
    dir.write("piqa/valid.jsonl", "{}");
    EXPECT_EQ(choice_error("piqa", dir),
              "file|no PIQA labels under " + dir.str() + "/piqa: looked for valid-labels.lst");
}

TEST(BadFiles, BadRecordNamesItsLine) {
    EXPECT_THAT(arc_error("{\"id\""),
                testing::StartsWith("format|FILE:2: not a JSON record (one JSON object a line is "
                                    "expected): parse error at line 1, column 6"));
    EXPECT_EQ(arc_error("{\"id\": 1, \"question\": {\"stem\": \"a\", \"stem\": \"b\"}}"),
              "format|FILE:2: key \"stem\" occurs twice in one object");
    EXPECT_EQ(arc_error("[1]"), "format|FILE:2: expected a JSON object");
    EXPECT_EQ(arc_error("{\"id\": 1, \"stem\": 2}"),
              "format|FILE:2: no field 'question' (fields there: id, stem)");
    EXPECT_EQ(arc_error("{\"question\": {\"stem\": 5, \"choices\": [{\"text\": \"a\", \"label\": "
                        "\"A\"}]}, \"answerKey\": \"A\"}"),
              "format|FILE:2: field 'stem' is number, expected a text");
    EXPECT_EQ(arc_error("{\"question\": {\"stem\": \"s\", \"choices\": []}, \"answerKey\": \"A\"}"),
              "format|FILE:2: question.choices is not a list of choices");
    EXPECT_EQ(arc_error("{\"question\": {\"stem\": \"s\", \"choices\": [{\"text\": \"a\", "
                        "\"label\": \"A\"}, {\"text\": \"b\", \"label\": \"B\"}]}, \"answerKey\": "
                        "\"C\"}"),
              "format|FILE:2: answerKey 'C' is no label of a choice (labels there: A, B)");
    EXPECT_EQ(arc_error("\xFF"), "format|FILE:2: not UTF-8 text");
    EXPECT_EQ(arc_error(""), "format|FILE: no documents in it");
}

TEST(BadFiles, PiqaLabels) {
    const DataDir dir;
    const std::string path =
        dir.write("piqa/valid.jsonl", "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}\n");
    const std::string labels = dir.write("piqa/valid-labels.lst", "2\n");
    EXPECT_EQ(choice_error("piqa", dir), "format|" + labels + ":1: label '2', expected 0 to 1");
    dir.write("piqa/valid-labels.lst", "");
    EXPECT_EQ(choice_error("piqa", dir),
              "format|" + path + ":1: no label for it: " + labels + " has 0 lines");
    dir.write("piqa/valid-labels.lst", "0\n1\n");
    EXPECT_EQ(choice_error("piqa", dir),
              "format|" + labels + " has 2 labels for the 1 records of " + path);
}

TEST(BadFiles, Winogrande) {
    const DataDir dir;
    const auto message = [&](const char *sentence, const char *answer) {
        dir.write("winogrande/dev.jsonl",
                  fmt::format("{{\"sentence\": \"{}\", \"option1\": \"a\", \"option2\": \"b\", "
                              "\"answer\": {}}}",
                              sentence, answer));
        const std::string error = choice_error("winogrande", dir);
        return error.substr(error.find("dev.jsonl"));
    };
    EXPECT_EQ(message("no gap", "\"1\""), "dev.jsonl:1: the sentence has no '_'");
    EXPECT_EQ(message("a _", "\"3\""), "dev.jsonl:1: field 'answer' is 3, expected 1 to 2");
    EXPECT_EQ(message("a _", "\"\""),
              "dev.jsonl:1: field 'answer' is \"\", expected a whole number");
    EXPECT_EQ(message("a _", "[]"),
              "dev.jsonl:1: field 'answer' is array, expected a whole number");
    EXPECT_EQ(message("a _", (std::string(200000, '[') + std::string(200000, ']')).c_str()),
              "dev.jsonl:1: nested deeper than 64 levels");
    EXPECT_EQ(message("a _", "-1"), "dev.jsonl:1: field 'answer' is -1, expected a whole number");
}

TEST(BadFiles, Hellaswag) {
    const DataDir dir;
    const std::string path = dir.write("hellaswag/hellaswag_val_full.txt", "c\n0\na\nb\nc\nd\ne\n");
    EXPECT_EQ(choice_error("hellaswag", dir),
              "format|" + path +
                  ":7: the last item is cut short: 7 lines are not a multiple of 6 (context, "
                  "label, four endings)");
    dir.write("hellaswag/hellaswag_val_full.txt", "c\nx\na\nb\nc\nd\n");
    EXPECT_EQ(choice_error("hellaswag", dir), "format|" + path + ":2: label 'x', expected 0 to 3");
    const std::string official = dir.write(
        "hellaswag/hellaswag_val.jsonl",
        "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"\", \"endings\": [\"c\", 1], "
        "\"label\": 0}");
    EXPECT_EQ(choice_error("hellaswag", dir),
              "format|" + official + ":1: field 'endings' holds number, expected texts only");
    dir.write("hellaswag/hellaswag_val.jsonl",
              "{\"activity_label\": \"a\", \"ctx_a\": \"b\", \"ctx_b\": \"\", \"endings\": [], "
              "\"label\": 0}");
    EXPECT_EQ(choice_error("hellaswag", dir), "format|" + official + ":1: no endings");
}

TEST(BadFiles, TruthfulqaChoices) {
    const DataDir dir;
    const std::string path = dir.write("truthfulqa/mc_task.json", "{}");
    const auto message = [&](const char *content) {
        dir.write("truthfulqa/mc_task.json", content);
        const std::string error = choice_error("truthfulqa-mc1", dir);
        return error.substr(error.find("mc_task.json"));
    };
    EXPECT_EQ(message("{}"), "mc_task.json: expected a JSON list of questions");
    EXPECT_TRUE(message("[{").starts_with("mc_task.json: not JSON: parse error"));
    EXPECT_EQ(message("[1]"), "mc_task.json: question 0 (from 0): no text 'question'");
    EXPECT_EQ(message("[{\"question\": \"q\"}]"),
              "mc_task.json: question 0 (from 0): no choices 'mc1_targets' (an object from choice "
              "to 0 or 1 is expected)");
    EXPECT_EQ(message("[{\"question\": \"q\", \"mc1_targets\": {\"a\": 2}}]"),
              "mc_task.json: question 0 (from 0): choice 'a' has label 2, expected 0 or 1");
    EXPECT_EQ(message("[{\"question\": \"q\", \"mc1_targets\": {\"a\": 0}}]"),
              "mc_task.json: question 0 (from 0): no choice of 'mc1_targets' has label 1");
}

TEST(BadFiles, Csv) {
    const DataDir dir;
    const auto message = [&](const std::string &content) {
        dir.write("TruthfulQA.csv", content);
        const std::string error =
            error_of([&] { read_generation_task("truthfulqa-gen", dir.str()); });
        return error.substr(error.find("TruthfulQA.csv"));
    };
    const std::string header = "Question,Correct Answers,Incorrect Answers\r\n";
    EXPECT_EQ(message("Type,Question\nA,B\n"),
              "TruthfulQA.csv:1: no column 'Correct Answers' (columns there: Type, Question)");
    EXPECT_EQ(message(header + "\"a\nb\",c,d\r\ne,f\r\n"),
              "TruthfulQA.csv:4: 2 fields, the header has 3");
    EXPECT_EQ(message(header + "a,b,c\r\n\"a,b,c\r\nd,e,f\r\n"),
              "TruthfulQA.csv:3: a quote out of place in the record that begins here");
    EXPECT_EQ(message(header + "a,b\"c\",d\r\n"),
              "TruthfulQA.csv:2: a quote out of place in the record that begins here");
    EXPECT_EQ(message(header + "a,b,;\r\n"), "TruthfulQA.csv:2: no incorrect answer");
    EXPECT_EQ(message(header), "TruthfulQA.csv: no documents in it");
    EXPECT_EQ(message(""), "TruthfulQA.csv:1: no column 'Question' (columns there: )");
}

TEST(BadFiles, LongBench) {
    const DataDir dir;
    EXPECT_TRUE(error_of([] {
                    longbench_set("vcsum");
                }).starts_with("usage|unknown LongBench set 'vcsum' (known: narrativeqa, qasper,"));
    EXPECT_EQ(error_of([&] { read_longbench(longbench_set("qasper"), dir.str()); }),
              "file|no data for LongBench set qasper under " + dir.str() +
                  ": looked for longbench/qasper.jsonl, data/qasper.jsonl, qasper.jsonl");
    const std::string path = dir.write("trec.jsonl",
                                       "{\"input\": \"\", \"context\": \"\", \"answers\": [\"a\"], "
                                       "\"length\": 1, \"all_classes\": "
                                       "null, \"_id\": \"x\"}\n");
    EXPECT_EQ(error_of([&] { read_longbench(longbench_set("trec"), dir.str()); }),
              "format|" + path + ":1: all_classes is null, but this set is scored by class names");
    const std::string predictions = dir.write("pred.jsonl", "{\"pred\": \"a\", \"answers\": 1}");
    EXPECT_EQ(error_of([&] { read_predictions(predictions); }),
              "format|" + predictions + ":1: field 'answers' is number, expected a list of texts");
}

TEST(BadFiles, PredictionsToScore) {
    const DataDir dir;
    const std::string line =
        "{\"pred\": \"a\", \"answers\": [\"a\"], \"all_classes\": null, \"length\": 1}\n";
    const std::string path = dir.write("trec.jsonl", "\n" + line);
    EXPECT_EQ(read_predictions_of(longbench_set("qasper"), path).size(), 1u);
    EXPECT_EQ(error_of([&] { read_predictions_of(longbench_set("trec"), path); }),
              "format|" + path + ":2: all_classes is null, but this set is scored by class names");
    const std::string empty = dir.write("qasper.jsonl", "");
    EXPECT_EQ(error_of([&] { read_predictions_of(longbench_set("qasper"), empty); }),
              "format|" + empty + ": no predictions in it");
}

TEST(BadFiles, Streams) {
    const DataDir dir;
    EXPECT_TRUE(error_of([&] { c4_stream(dir.str()); })
                    .starts_with("file|no C4 validation shard (unpacked) under " + dir.str() +
                                 ": looked for c4/c4-validation.00000-of-00008.json, "));
    EXPECT_TRUE(error_of([&] {
                    wikitext2_stream(dir.str());
                }).starts_with("file|no WikiText-2 raw test split under "));
    const std::string path = dir.write("x.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n");
    EXPECT_EQ(error_of([&] { read_text(path); }),
              "format|" + path + ":2: no field 'text' (fields there: body)");
    EXPECT_TRUE(error_of([&] {
                    read_text(dir.str() + "/none.txt");
                }).starts_with("file|" + dir.str() + "/none.txt: cannot be read: "));
    const std::string latin = dir.write("latin.txt", "a\nb\nc\xE9\n");
    EXPECT_EQ(error_of([&] { read_text(latin); }), "format|" + latin + ":3: not UTF-8 text");
}

TEST(BadFiles, PairsThatCannotBeScored) {
    const Tokenize by_byte = [](const std::string &text) {
        return std::vector<int32_t>(text.begin(), text.end());
    };
    EXPECT_EQ(error_of([&] {
                  make_scoring_input({"a", " bcd"}, by_byte, 3);
              }),
              "limit|a continuation of 4 tokens does not fit a context of 3");
    EXPECT_EQ(error_of([&] {
                  make_scoring_input({"", "b"}, by_byte, 3);
              }),
              "format|nothing stands before the continuation 'b', and the model has no "
              "begin-of-text id");
    EXPECT_EQ(error_of([&] {
                  make_scoring_input({"a", ""}, by_byte, 3);
              }),
              "format|the continuation '' has no token of its own: one token spans the end of its "
              "context and all of it; leave the document out with --docs");
}

}  // namespace
}  // namespace orthorank
