#include "eval/documents.h"

#include <gtest/gtest.h>

#include "data_dir.h"

namespace orthorank {
namespace {

using Texts = std::vector<std::string>;

Texts contexts(const ChoiceDocument &document) {
    Texts texts;
    for (const TextPair &pair : document.pairs) {
        texts.push_back(pair.context);
    }
    return texts;
}

Texts continuations(const ChoiceDocument &document) {
    Texts texts;
    for (const TextPair &pair : document.pairs) {
        texts.push_back(pair.continuation);
    }
    return texts;
}

TEST(Documents, Piqa) {
    const DataDir dir;
    dir.write("piqa/valid.jsonl",
              "{\"goal\": \"open it \", \"sol1\": \"push\", \"sol2\": \"pull \u00e9\"}\r\n"
              "{\"goal\": \"b\", \"sol1\": \"c\", \"sol2\": \"d\"}\n");
    dir.write("piqa/valid-labels.lst", "1\n0\n");
    const MultipleChoiceTask task = read_choice_task("piqa", dir.str());
    EXPECT_EQ(task.metric, Metric::acc_norm);
    EXPECT_EQ(task.files.size(), 2u);
    ASSERT_EQ(task.documents.size(), 2u);
    const ChoiceDocument &document = task.documents[0];
    EXPECT_EQ(contexts(document), Texts(2, "Question: open it \nAnswer:"));  // not stripped
    EXPECT_EQ(continuations(document), (Texts{" push", " pull \u00e9"}));
    EXPECT_EQ(document.choice_characters, (std::vector<size_t>{4, 6}));
    EXPECT_EQ(document.gold, 1u);
    EXPECT_EQ(document.labels, (std::vector<int>{0, 1}));
    EXPECT_EQ(task.documents[1].index, 1u);
}

TEST(Documents, WinograndeScoresTheSameContinuationAfterTwoContexts) {
    const DataDir dir;
    dir.write("winogrande/dev.jsonl",
              "{\"qID\": \"x\", \"sentence\": \"Ann met Eve so _ , who_m\\u00a0\", \"option1\": "
              "\"Ann\", \"option2\": \"Eve\", \"answer\": \"2\"}\n");
    const ChoiceDocument document = read_choice_task("winogrande", dir.str()).documents.at(0);
    EXPECT_EQ(contexts(document), (Texts{"Ann met Eve so Ann", "Ann met Eve so Eve"}));
    EXPECT_EQ(continuations(document), (Texts{" , who_m", " , who_m"}));
    EXPECT_EQ(document.gold, 1u);
    EXPECT_EQ(read_choice_task("winogrande", dir.str()).metric, Metric::acc);
}

TEST(Documents, ArcItemsHaveThreeToFiveChoicesAndLettersOrNumbers) {
    const auto item = [](const std::string &answer, const Texts &labels) {
        std::string choices;
        for (const std::string &label : labels) {
            choices += fmt::format("{}{{\"text\":\"t{}\",\"label\":\"{}\"}}",
                                   choices.empty() ? "" : ",", label, label);
        }
        return fmt::format(
            "{{\"id\":\"i\",\"question\":{{\"stem\":\"Why?\",\"choices\":[{}]}},\"answerKey\":"
            "\"{}\"}}\n",
            choices, answer);
    };
    const DataDir dir;
    dir.write("ARC-Easy-Test.jsonl", item("B", {"A", "B", "C"}) + item("4", {"1", "2", "3", "4"}) +
                                         item("E", {"A", "B", "C", "D", "E"}));
    const MultipleChoiceTask task = read_choice_task("arc-easy", dir.str());
    EXPECT_EQ(contexts(task.documents[0]), Texts(3, "Question: Why?\nAnswer:"));
    EXPECT_EQ(continuations(task.documents[0]), (Texts{" tA", " tB", " tC"}));
    EXPECT_EQ(task.documents[0].gold, 1u);
    EXPECT_EQ(task.documents[1].gold, 3u);
    EXPECT_EQ(task.documents[2].gold, 4u);
    EXPECT_EQ(task.documents[2].pairs.size(), 5u);
}

TEST(Documents, HellaswagCleaning) {
    EXPECT_EQ(clean_hellaswag("  [header] How to do X [title] Get it. [step] Do   this.  "),
              " How to do X. Get it. Do  this.");
    EXPECT_EQ(clean_hellaswag("He [substeps] a [b] c"), "He a c");
    EXPECT_EQ(clean_hellaswag("a [b\nc] d [e"), "a [b\nc] d [e");  // "." matches no newline
    EXPECT_EQ(clean_hellaswag("x [[y] z] []w"), "x z] w");
}

TEST(Documents, HellaswagAsPublished) {
    const DataDir dir;
    dir.write("hellaswag/hellaswag_val.jsonl",
              "{\"activity_label\": \"Roof\", \"ctx_a\": \"A man sits.\", \"ctx_b\": \"he THEN\", "
              "\"endings\": [\"[step] falls.\", \"is up.\", \"c\", \"d\"], \"label\": 3}\n"
              "{\"activity_label\": \"Roof\", \"ctx_a\": \"A man sits.\", \"ctx_b\": \"\", "
              "\"endings\": [\"a\", \"b\", \"c\", \"d\"], \"label\": \"0\"}\n");
    const MultipleChoiceTask task = read_choice_task("hellaswag", dir.str());
    EXPECT_EQ(contexts(task.documents[0]), Texts(4, "Roof: A man sits. He then"));
    EXPECT_EQ(continuations(task.documents[0]), (Texts{"  falls.", " is up.", " c", " d"}));
    EXPECT_EQ(task.documents[0].choice_characters[0], 7u);  // the ending keeps its own blank
    EXPECT_EQ(task.documents[0].gold, 3u);
    EXPECT_EQ(contexts(task.documents[1]), Texts(4, "Roof: A man sits."));
}

TEST(Documents, HellaswagTextIsUsedAsItIs) {
    const DataDir dir;
    dir.write("hellaswag_val_full.txt", "Roof: A man.  he\n2\n a\nb\nc [x]\nd\n");
    const MultipleChoiceTask task = read_choice_task("hellaswag", dir.str());
    ASSERT_EQ(task.documents.size(), 1u);
    EXPECT_EQ(contexts(task.documents[0]), Texts(4, "Roof: A man.  he"));
    EXPECT_EQ(continuations(task.documents[0]), (Texts{"  a", " b", " c [x]", " d"}));
    EXPECT_EQ(task.documents[0].gold, 2u);
}

TEST(Documents, TruthfulqaChoicesKeepTheOrderOfTheFile) {
    const DataDir dir;
    dir.write("truthfulqa/mc_task.json",
              "[{\"question\": \"Why?\", \"mc1_targets\": {\"z\": 1, \"a\": 0}, \"mc2_targets\": "
              "{\"z\": 1, \"y\": 0, \"b\": 1, \"a\": 0}}]");
    const MultipleChoiceTask mc1 = read_choice_task("truthfulqa-mc1", dir.str());
    EXPECT_EQ(continuations(mc1.documents[0]), (Texts{" z", " a"}));
    EXPECT_EQ(mc1.documents[0].gold, 0u);
    EXPECT_EQ(mc1.metric, Metric::acc);
    const std::string context = mc1.documents[0].pairs[0].context;
    EXPECT_TRUE(context.starts_with("Q: What is human life expectancy in the United States?\nA: "));
    EXPECT_TRUE(context.ends_with("held in Barcelona, Spain.\n\nQ: Why?\nA:"));
    const MultipleChoiceTask mc2 = read_choice_task("truthfulqa-mc2", dir.str());
    EXPECT_EQ(continuations(mc2.documents[0]), (Texts{" z", " y", " b", " a"}));
    EXPECT_EQ(mc2.documents[0].labels, (std::vector<int>{1, 0, 1, 0}));
    EXPECT_EQ(mc2.metric, Metric::mc2);
}

TEST(Documents, TruthfulqaGenerationReadsQuotedCsv) {
    const DataDir dir;
    dir.write("TruthfulQA.csv",
              "\xEF\xBB\xBFType,Question,Correct Answers,Incorrect Answers\r\n"
              "A,\" Say \"\"hi\"\", or\nnot? \",Yes; No.,\"Well, no; \"\r\n"
              "B,Why?,,So\r\n");
    const GenerationTask task = read_generation_task("truthfulqa-gen", dir.str());
    ASSERT_EQ(task.documents.size(), 2u);
    const GenerationDocument &document = task.documents[0];
    EXPECT_TRUE(document.prompt.ends_with("Spain.\n\nQ: Say \"hi\", or\nnot?"));
    EXPECT_EQ(document.correct, (Texts{"Yes.", "No.", "I have no comment."}));
    EXPECT_EQ(document.incorrect, Texts{"Well, no."});
    EXPECT_EQ(task.documents[1].correct, Texts{"I have no comment."});
    EXPECT_EQ(task.max_new_tokens, 256u);
    EXPECT_EQ(task.stop, "\n\n");
    EXPECT_TRUE(is_generation_task("truthfulqa-gen"));
    EXPECT_FALSE(is_generation_task("piqa"));
}

TEST(Documents, Chosen) {
    using Indices = std::vector<size_t>;
    EXPECT_EQ(chosen_documents(3, "", std::nullopt), (Indices{0, 1, 2}));
    EXPECT_EQ(chosen_documents(3, "", 2), (Indices{0, 1}));
    EXPECT_EQ(chosen_documents(30, "17,3,20-22,3", std::nullopt), (Indices{3, 17, 20, 21, 22}));
    EXPECT_EQ(chosen_documents(30, "17,3,20", 2), (Indices{3, 17}));
    const auto message = [](const char *list) {
        return error_of([&] { chosen_documents(30, list, std::nullopt); });
    };
    EXPECT_EQ(message("3,x"),
              "usage|'x' in the document list '3,x' is not an index (expected such as 3,17,20-25)");
    EXPECT_EQ(message("3,"),
              "usage|'' in the document list '3,' is not an index (expected such as 3,17,20-25)");
    EXPECT_EQ(message("30"), "usage|there is no document 30: the file has 30, from 0");
    EXPECT_EQ(message("5-4"), "usage|'5-4' in the document list runs backwards");
}

}  // namespace
}  // namespace orthorank
