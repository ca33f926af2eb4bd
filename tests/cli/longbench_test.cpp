// `orthorank longbench` and the perplexity options of the paper's protocol, on tiny models and
// data files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class DataCommands : public CommandTest {
 protected:
    explicit DataCommands(const TinyModel &tiny = tiny_llama()) : CommandTest(tiny) {
        for (const char *name : {"longbench", "c4", "wikitext-2-raw"}) {
            std::filesystem::create_directory(dir_.path() / name);
        }
        std::string records;
        for (int i = 0; i < 3; ++i) {
            records += R"({"input": "who?", "context": ")" + std::string(300, 'a') +
                       R"( the dog", "answers": ["the dog", "dog"], "length": 4,)"
                       R"( "all_classes": null, "_id": "x", "dataset": "hotpotqa"})"
                       "\n";
        }
        write_bytes(dir_.file("longbench/hotpotqa.first3.jsonl"), records);
        write_bytes(dir_.file("longbench/samsum.jsonl"), records);
        write_bytes(dir_.file("c4/c4-validation.00000.first1000.jsonl"),
                    "{\"text\": \"the quick brown fox\"}\n{\"text\": \"jumps over the dog\"}\n");
        write_bytes(dir_.file("wikitext-2-raw/wiki.test.raw"),
                    " = a = \n \n the fox and the dog\n");
    }

    std::string data() const { return dir_.path().string(); }
    std::vector<std::string> longbench(const std::string &sets) const {
        return {"longbench",       "--sets", sets,  "--data",       data(), "--output",
                dir_.file("pred"), "--plan", plan_, "--max-length", "200"};
    }
};

TEST_F(DataCommands, LongBenchWritesAndScoresPredictions) {
    const json result = run_json(longbench("hotpotqa,samsum"));
    ASSERT_THAT(result["results"], SizeIs(4));
    EXPECT_EQ(result["max_length"], 200);
    EXPECT_EQ(result["results"][0]["set"], "hotpotqa");
    EXPECT_TRUE(result["results"][0]["plan"].is_null());
    EXPECT_EQ(result["results"][0]["n_records"], 3);
    EXPECT_EQ(result["results"][0]["n_cut"], 3);
    EXPECT_EQ(result["results"][0]["is_complete"], false);
    const std::string file = dir_.file("pred/plan/hotpotqa.jsonl");
    EXPECT_EQ(result["results"][1]["predictions"], file);
    const std::string lines = read_bytes(file);
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 3);
    const json line = json::parse(lines.substr(0, lines.find('\n')));
    EXPECT_TRUE(line["pred"].is_string());
    EXPECT_THAT(line["answers"], SizeIs(2));
    EXPECT_TRUE(line["all_classes"].is_null());
    EXPECT_EQ(line["length"], 4);

    const json scored = run_json({"longbench", "--score", file});
    EXPECT_EQ(scored["results"][0]["score"], result["results"][1]["score"]);
    EXPECT_EQ(scored["results"][0]["set"], "hotpotqa");
    // What is there is not made again, and a line cut short is made anew.
    write_bytes(file, lines.substr(0, lines.size() - 9));
    EXPECT_EQ(run_json(longbench("hotpotqa,samsum"))["results"], result["results"]);
    EXPECT_EQ(read_bytes(file), lines);
    // The dense model is given one right answer of three: the plan has a third less.
    EXPECT_TRUE(result["results"][0]["difference"].is_null());
    const std::string dense_file = dir_.file("pred/dense/hotpotqa.jsonl");
    const std::string dense_lines = read_bytes(dense_file);
    json right = json::parse(dense_lines.substr(0, dense_lines.find('\n')));
    right["pred"] = right["answers"][0];
    write_bytes(dense_file, right.dump() + dense_lines.substr(dense_lines.find('\n')));
    const json compared = run_json(longbench("hotpotqa,samsum"))["results"];
    EXPECT_NEAR(compared[0]["score"].get<double>(), 33.33, 1e-9);
    EXPECT_NEAR(compared[1]["difference"].get<double>(), -100.0 / 3, 1e-9);
    EXPECT_NEAR(compared[1]["difference_se"].get<double>(), 100.0 / 3, 1e-9);
    std::vector<std::string> other = longbench("hotpotqa");
    other.back() = "100";
    expect_failure(2, "another run, whose max_length differs", other);
    other = longbench("hotpotqa");
    other.insert(other.end(), {"--correction-type", "f32"});
    expect_failure(2, "another run, whose correction_type differs", other);
    EXPECT_TRUE(json::parse(read_bytes(file + ".run.json")).contains("device"));
}

// An answer is written behind a prompt, whose last rows a plan for every row keeps too.
TEST_F(DataCommands, LongBenchKeepsAPromptsLastRows) {
    std::vector<std::string> arguments = longbench("hotpotqa");
    arguments.insert(arguments.end(), {"--apply", "both", "--keep-last", "4"});
    const ProgramResult found = run(arguments);
    EXPECT_EQ(found.exit_code, 0) << found.err;
    EXPECT_THAT(found.err, Not(HasSubstr("is left out")));
    const json made_by = json::parse(read_bytes(dir_.file("pred/plan/hotpotqa.jsonl.run.json")));
    EXPECT_EQ(made_by["plan"]["keep_last"], 4);
}

class LongRotationCommands : public DataCommands {
 protected:
    LongRotationCommands() : DataCommands(tiny_architecture("phi")) {}
};

// Phi 3's frequencies are chosen by the longest prompt and answer of a run: predictions of a short
// run are none of a long one.
TEST_F(LongRotationCommands, AreNotOneRun) {
    const auto predicted = [&](const std::string &sets) -> std::vector<std::string> {
        return {"longbench", "--sets",          sets,           "--data", data(),
                "--output",  dir_.file("pred"), "--max-length", "450"};
    };
    run_json(predicted("hotpotqa"));
    const json made_by = json::parse(read_bytes(dir_.file("pred/dense/hotpotqa.jsonl.run.json")));
    EXPECT_EQ(made_by["long_rotation"], false) << "450 and 32 of 512";
    run_json(predicted("hotpotqa"));
    expect_failure(2, "another run, whose long_rotation differs", predicted("samsum,hotpotqa"));
}

// A file of another program under a prediction's name was cut at its last line end.
TEST_F(DataCommands, ForeignPredictionsAreRefusedUncut) {
    const std::string file = dir_.file("pred/dense/hotpotqa.jsonl");
    std::filesystem::create_directories(dir_.path() / "pred" / "dense");
    const std::string line = R"({"pred": "a", "answers": ["b"], "all_classes": null, "length": 1})";
    for (const std::string &foreign : {line, line + "\n", line + "\n" + line, line + "\nnotes"}) {
        write_bytes(file, foreign);
        expect_failure(2, "hotpotqa.jsonl is there, but", longbench("hotpotqa"));
        EXPECT_EQ(read_bytes(file), foreign);
    }
    run(longbench("samsum"));
    std::filesystem::copy_file(dir_.file("pred/dense/samsum.jsonl.run.json"), file + ".run.json");
    write_bytes(file, "notes\nof something else");
    expect_failure(1, "hotpotqa.jsonl:1", longbench("hotpotqa"));
    EXPECT_EQ(read_bytes(file), "notes\nof something else");
}

TEST_F(DataCommands, LongBenchSaysWhatIsMissing) {
    const ProgramResult all = run(longbench("all"));
    EXPECT_EQ(all.exit_code, 0) << all.err;
    EXPECT_THAT(all.err, AllOf(StartsWith("left out, no data in"), HasSubstr("narrativeqa, ")));
    EXPECT_THAT(all.out, AllOf(HasSubstr("at most 200 tokens"), HasSubstr("hotpotqa"),
                               HasSubstr("3 of 200"), HasSubstr("mean")));
    expect_failure(1, "trec", longbench("trec"));
    expect_failure(2, "dance", longbench("dance"));
    expect_failure(2, "--sets", {"longbench"});
    expect_failure(2, "--output", {"longbench", "--sets", "trec", "--data", data()});
    expect_failure(1, "none/trec.jsonl", {"longbench", "--score", "/none/trec.jsonl"});
    std::vector<std::string> longer = longbench("hotpotqa");
    longer.back() = "2040";
    write_bytes(dir_.file("longbench/hotpotqa.jsonl"),
                R"({"input": "", "context": ")" + std::string(5000, '1') +
                    R"(", "answers": ["a"], "length": 4, "all_classes": null, "_id": "x"})"
                    "\n");
    expect_failure(1, "give a smaller --max-length", longer);
}

TEST_F(DataCommands, OptionsThatWouldDoNothingAreRefused) {
    std::vector<std::string> no_code = longbench("hotpotqa");
    no_code.push_back("--levenshtein");
    expect_failure(2, "--levenshtein does nothing", no_code);
    for (const std::vector<std::string> &more : std::vector<std::vector<std::string>>{
             {"--data", data()}, {"--limit", "3"}, {"--plan", plan_}, {"--no-dense"}}) {
        std::vector<std::string> scoring = {"longbench", "--score", dir_.file("lcc.jsonl")};
        scoring.insert(scoring.end(), more.begin(), more.end());
        expect_failure(2, more.front() + " does nothing: --score runs nothing", scoring);
    }
    expect_failure(2, "--field does nothing",
                   {"perplexity", "--protocol", "paper", "--data", data(), "--field", "x"});
    expect_failure(2, "--no-sharing does nothing",
                   {"eval", "--tasks", "truthfulqa-gen", "--data", data(), "--no-sharing"});
    expect_failure(2, "--apply does nothing", {"generate", "-p", "x", "--apply", "prefill"});
    expect_failure(2, "--depth does nothing", {"bench", "--prefill", "8", "--depth", "8"});
    expect_failure(2, "--quality-ctx does nothing",
                   {"bench", "--prefill", "8", "--quality-ctx", "8"});
}

TEST_F(DataCommands, PerplexityOfThePapersTexts) {
    const json result = run_json({"perplexity", "--protocol", "paper", "--data", data(), "--ctx",
                                  "8", "--windows", "2", "--plan", plan_});
    ASSERT_THAT(result["results"], SizeIs(4));
    EXPECT_EQ(result["results"][0]["set"], "c4");
    EXPECT_EQ(result["results"][3]["set"], "wikitext-2");
    EXPECT_EQ(result["results"][3]["plan"], "plan.json");
    EXPECT_EQ(result["sets"][0]["n_documents"], 2);
    EXPECT_EQ(result["sets"][0]["n_windows"], 2);
    EXPECT_THAT(run({"perplexity", "--protocol", "paper", "--data", data(), "--ctx", "8"}).out,
                AllOf(HasSubstr("c4: 2 of 1100 documents, "), HasSubstr("windows of 8 tokens"),
                      HasSubstr("wikitext-2: 3")));
    expect_failure(1, "no window of 2048 tokens",
                   {"perplexity", "--protocol", "paper", "--data", data()});
    expect_failure(2, "known: paper", {"perplexity", "--protocol", "x", "--data", data()});
    expect_failure(2, "--data", {"perplexity", "--protocol", "paper"});
    expect_failure(2, "--file", {"perplexity", "--protocol", "paper", "--data", data(), "-f", "x"});
}

TEST_F(DataCommands, PerplexityWithKl) {
    const std::vector<std::string> arguments = {
        "perplexity", "-f",  dir_.file("wikitext-2-raw/wiki.test.raw"), "--ctx", "8", "--plan",
        plan_,        "--kl"};
    const json results = run_json(arguments)["results"];
    EXPECT_EQ(results[0]["kl"]["mean"], 0.0);
    EXPECT_EQ(results[0]["kl"]["same_top"], 1.0);
    EXPECT_GT(results[1]["kl"]["mean"].get<double>(), 0);
    EXPECT_GE(results[1]["kl"]["max"], results[1]["kl"]["p99"]);
    EXPECT_EQ(results[1]["kl"]["n_rows"], 7 * results[1]["n_windows"].get<int>());
    EXPECT_THAT(run(arguments).out,
                AllOf(HasSubstr("KL divergence from dense"), HasSubstr("same top token")));
    expect_failure(2, "--kl", {"perplexity", "-f", arguments[2], "--kl"});
}

TEST_F(DataCommands, PerplexityBesideExactKernels) {
    const std::string text = dir_.file("text.txt");
    write_bytes(text, std::string(200, 'x') + " the quick brown fox");
    const std::vector<std::string> plain = {"perplexity", "-f", text, "--ctx", "40"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), plain.begin(), plain.end());
        return more;
    };
    const json exact = run_json(with({"--kernels", "exact"}))["results"][0];
    const json fast = run_json(plain)["results"][0];
    const json both = run_json(with({"--beside", "exact", "--kl", "--plan", plan_}))["results"];
    ASSERT_EQ(both.size(), 3);
    EXPECT_EQ(both[0]["plan"], "dense, exact");
    EXPECT_EQ(both[0]["ppl"], exact["ppl"]);
    EXPECT_EQ(both[1]["plan"], nullptr);
    EXPECT_EQ(both[1]["ppl"], fast["ppl"]);
    EXPECT_NEAR(both[1]["ratio_to_dense"].get<double>(),
                fast["ppl"].get<double>() / exact["ppl"].get<double>(), 1e-9);
    EXPECT_LT(both[1]["kl"]["mean"].get<double>(), 1e-3);
    EXPECT_GT(both[2]["kl"]["mean"].get<double>(), both[1]["kl"]["mean"].get<double>());
    expect_failure(2, "--beside", with({"--beside", "exact", "--no-dense", "--plan", plan_}));
    expect_failure(2, "--beside", with({"--beside", "exact", "--record", "--plan", plan_}));
    expect_failure(2, "unknown weight type", with({"--beside", "q9"}));
    expect_failure(2, "unknown weight type", with({"--beside", ""}));
}

}  // namespace
}  // namespace orthorank::test
