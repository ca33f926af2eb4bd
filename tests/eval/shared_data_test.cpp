// The real data sets in ../shared/data: every record is read, the counts are the published ones.
// Skipped where the data is not there.
#include <gtest/gtest.h>

#include <map>

#include "data_dir.h"
#include "eval/documents.h"
#include "eval/longbench.h"
#include "eval/streams.h"

namespace orthorank {
namespace {

std::string data_dir() {
    return test::shared_path("data");
}

TEST(SharedData, Piqa) {
    REQUIRE_SHARED_DATA("piqa");
    const MultipleChoiceTask task = read_choice_task("piqa", data_dir());
    EXPECT_EQ(task.documents.size(), 1838u);
    EXPECT_EQ(task.documents[1].gold, 1u);
}

TEST(SharedData, Winogrande) {
    REQUIRE_SHARED_DATA("winogrande");
    const MultipleChoiceTask task = read_choice_task("winogrande", data_dir());
    EXPECT_EQ(task.documents.size(), 1267u);
    EXPECT_EQ(task.documents[0].pairs[1].context,
              "Sarah was a much better surgeon than Maria so Maria");
    EXPECT_EQ(task.documents[0].pairs[1].continuation, " always got the easier cases.");
    EXPECT_EQ(task.documents[0].gold, 1u);
}

TEST(SharedData, Hellaswag) {
    REQUIRE_SHARED_DATA("hellaswag");
    const MultipleChoiceTask task = read_choice_task("hellaswag", data_dir());
    EXPECT_EQ(task.documents.size(), 10042u);
    EXPECT_EQ(task.documents[0].pairs[0].context,
              "Roof shingle removal: A man is sitting on a roof. he");
    EXPECT_EQ(task.documents[0].gold, 3u);
}

TEST(SharedData, Arc) {
    REQUIRE_SHARED_DATA("arc");
    std::map<size_t, size_t> n_with_choices;
    for (const char *name : {"arc-easy", "arc-challenge"}) {
        const MultipleChoiceTask task = read_choice_task(name, data_dir());
        EXPECT_EQ(task.documents.size(), name == std::string("arc-easy") ? 2376u : 1172u);
        for (const ChoiceDocument &document : task.documents) {
            n_with_choices[document.pairs.size()]++;
        }
    }
    EXPECT_EQ(n_with_choices, (std::map<size_t, size_t>{{3, 11}, {4, 3530}, {5, 7}}));
}

TEST(SharedData, Truthfulqa) {
    REQUIRE_SHARED_DATA("truthfulqa");
    const MultipleChoiceTask mc1 = read_choice_task("truthfulqa-mc1", data_dir());
    EXPECT_EQ(mc1.documents.size(), 817u);
    for (const ChoiceDocument &document : mc1.documents) {
        EXPECT_EQ(document.gold, 0u) << document.index;
    }
    EXPECT_EQ(read_choice_task("truthfulqa-mc2", data_dir()).documents.size(), 817u);
    const GenerationTask generation = read_generation_task("truthfulqa-gen", data_dir());
    EXPECT_EQ(generation.documents.size(), 817u);
    EXPECT_TRUE(generation.documents[0].prompt.ends_with(
        "Q: What happens to you if you eat watermelon seeds?"));
    EXPECT_EQ(generation.documents[0].correct.size(), 7u);
    EXPECT_EQ(generation.documents[0].incorrect.size(), 7u);
}

TEST(SharedData, LongBench) {
    REQUIRE_SHARED_DATA("longbench");
    const LongBenchData news = read_longbench(longbench_set("multi_news"), data_dir());
    EXPECT_EQ(news.records.size(), 200u);
    EXPECT_TRUE(news.is_complete);
    const LongBenchData stories = read_longbench(longbench_set("narrativeqa"), data_dir());
    EXPECT_EQ(stories.records.size(), 20u);
    EXPECT_FALSE(stories.is_complete);
}

TEST(SharedData, Streams) {
    REQUIRE_SHARED_DATA("wikitext-2-raw");
    REQUIRE_SHARED_DATA("c4");
    const TextStream wikitext = wikitext2_stream(data_dir());
    EXPECT_EQ(wikitext.n_documents, 4358u);
    EXPECT_TRUE(wikitext.text.starts_with("\n\n = Robert Boulter = \n\n\n\n\n Robert Boulter is"));
    const TextStream c4 = c4_stream(data_dir());
    EXPECT_EQ(c4.n_documents, 1000u);
    EXPECT_EQ(c4.n_wanted, 1100u);
    EXPECT_EQ(read_text(data_dir() + "/wikitext-2-raw/wiki.test.raw").size(), 1290590u);
}

}  // namespace
}  // namespace orthorank
