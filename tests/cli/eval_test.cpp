// `orthorank eval` on tiny models and data files: what it prints, how it fails, how it resumes.
#include <gguf.h>
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

class EvalCommand : public CommandTest {
 protected:
    EvalCommand() {
        std::filesystem::create_directory(dir_.path() / "piqa");
        std::string goals;
        for (int i = 0; i < 8; ++i) {
            goals += R"({"goal": "go )" + std::string(static_cast<size_t>(i + 1), 'a') +
                     R"(", "sol1": "the dog sleeps", "sol2": "a fox"})" + "\n";
        }
        write_bytes(dir_.file("piqa/valid.jsonl"), goals);
        write_bytes(dir_.file("piqa/valid-labels.lst"), "0\n1\n0\n0\n1\n1\n0\n1\n");
        write_bytes(
            dir_.file("winogrande_xl-validation.jsonl"),
            R"({"sentence": "the dog bit _ .", "option1": "me", "option2": "you", "answer": "1"})"
            "\n");
        write_bytes(dir_.file("TruthfulQA.csv"),
                    "Question,Correct Answers,Incorrect Answers\nwhy?,a; b,c\nwho?,me,you\n");
    }

    ProgramResult run(std::vector<std::string> arguments,
                      const ProgramInput &input = {}) const override {
        arguments.insert(arguments.begin(), {"eval", "--data", dir_.path().string()});
        return CommandTest::run(arguments, input);
    }
};

TEST_F(EvalCommand, ComparesPlansWithDense) {
    const json result = run_json({"--tasks", "piqa,winogrande", "--plan", plan_});
    ASSERT_THAT(result["results"], SizeIs(4));
    EXPECT_EQ(result["tasks"][0]["n_docs"], 8);
    EXPECT_THAT(result["tasks"][0]["files"][0].get<std::string>(), HasSubstr("valid.jsonl"));
    const json &dense = result["results"][0];
    EXPECT_EQ(dense["task"], "piqa");
    EXPECT_TRUE(dense["plan"].is_null());
    EXPECT_EQ(dense["metric"], "acc_norm");
    EXPECT_EQ(dense["value"], dense["metrics"]["acc_norm"]["value"]);
    EXPECT_TRUE(dense["difference"].is_null());
    const json &plan = result["results"][1];
    EXPECT_EQ(plan["plan"], "plan.json");
    EXPECT_NEAR(plan["difference"].get<double>(),
                plan["value"].get<double>() - dense["value"].get<double>(), 1e-12);
    EXPECT_NEAR(plan["effective_sparsity"].get<double>(), 0.2, 1e-12);
    EXPECT_EQ(result["results"][2]["metric"], "acc");
    EXPECT_TRUE(result["results"][2]["se"].is_null()) << "one document has no spread";
}

// The last token of the vocabulary becomes ": left", which is whole wherever it stands.
void write_model_with_joining_token(const std::string &path) {
    TinyFile file = make_tiny_file(tiny_llama());
    gguf_context *meta = file.meta.get();
    const int64_t tokens = gguf_find_key(meta, "tokenizer.ggml.tokens");
    const int64_t types = gguf_find_key(meta, "tokenizer.ggml.token_type");
    const size_t n = gguf_get_arr_n(meta, tokens);
    std::vector<std::string> names;
    for (size_t i = 0; i < n; ++i) {
        names.emplace_back(gguf_get_arr_str(meta, tokens, i));
    }
    names.back() = ": left";
    std::vector<const char *> texts;
    for (const std::string &name : names) {
        texts.push_back(name.c_str());
    }
    const auto *old_types = static_cast<const int32_t *>(gguf_get_arr_data(meta, types));
    std::vector<int32_t> new_types(old_types, old_types + n);
    new_types.back() = 4;  // user-defined: taken out of a text before all else
    gguf_set_arr_str(meta, "tokenizer.ggml.tokens", texts.data(), n);
    gguf_set_arr_data(meta, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, new_types.data(), n);
    file.write(path);
}

TEST_F(EvalCommand, ATokenOverTheBorderNamesFileAndDocument) {
    write_model_with_joining_token(model_);
    write_bytes(dir_.file("piqa/valid.jsonl"),
                "{\"goal\": \"go\", \"sol1\": \"right\", \"sol2\": \"up\"}\n"
                "{\"goal\": \"go\", \"sol1\": \"left\", \"sol2\": \"down\"}\n");
    write_bytes(dir_.file("piqa/valid-labels.lst"), "0\n1\n");
    const ProgramResult result = run({"--tasks", "piqa"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, AllOf(HasSubstr("piqa/valid.jsonl: document 1 (from 0): "),
                                  HasSubstr("the continuation ' left' has no token of its own")));
    EXPECT_EQ(run({"--tasks", "piqa", "--docs", "0"}).exit_code, 0);
}

TEST_F(EvalCommand, TableAndMarkdown) {
    const ProgramResult table = run({"--tasks", "piqa", "--plan", plan_});
    EXPECT_EQ(table.exit_code, 0) << table.err;
    EXPECT_THAT(table.out, AllOf(HasSubstr("piqa"), HasSubstr("dense"), HasSubstr("±"),
                                 HasSubstr("  - dense"), Not(HasSubstr("mean of five"))));
    const ProgramResult markdown = run({"--tasks", "piqa", "--markdown", "-"});
    EXPECT_THAT(markdown.out, StartsWith("| plan | sparsity | piqa |\n|---|---:|---:|\n| dense |"));
    EXPECT_EQ(run({"--tasks", "piqa", "--no-dense", "--plan", plan_}).out.find("dense"),
              std::string::npos);
}

TEST_F(EvalCommand, ChoosesDocuments) {
    const std::string samples = dir_.file("s.jsonl");
    EXPECT_EQ(run_json({"--tasks", "piqa", "--docs", "3,1,5-6", "--limit", "3", "--samples",
                        samples})["results"][0]["n_docs"],
              3);
    const std::string lines = read_bytes(samples);
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 3);
    const json first = json::parse(lines.substr(0, lines.find('\n')));
    EXPECT_EQ(first["task"], "piqa");
    EXPECT_EQ(first["doc"], 1);
    EXPECT_EQ(first["plan"], "dense");
    EXPECT_THAT(first["ll"], SizeIs(2));
    EXPECT_EQ(first["gold"], 1);
}

TEST_F(EvalCommand, SharingChangesNothing) {
    const json shared = run_json({"--tasks", "piqa", "--plan", plan_});
    const json alone = run_json({"--tasks", "piqa", "--plan", plan_, "--no-sharing"});
    EXPECT_EQ(shared["results"], alone["results"]);
}

TEST_F(EvalCommand, ResumesToTheSameBits) {
    const std::string samples = dir_.file("s.jsonl");
    const std::vector<std::string> arguments = {
        "--tasks", "piqa,truthfulqa-gen", "--plan", plan_, "--samples", samples, "--parallel", "4"};
    const json whole = run_json(arguments);
    const std::string lines = read_bytes(samples);
    // Cut within a line, within a batch.
    for (const size_t n : {lines.size() / 2, lines.size() - 5, size_t{3}}) {
        write_bytes(samples, lines.substr(0, n));
        EXPECT_EQ(run_json(arguments)["results"], whole["results"]);
        EXPECT_EQ(read_bytes(samples), lines) << n;
    }
    EXPECT_THAT(run(arguments).err, HasSubstr("going on after 20 samples"));
    // Another plan of the same name is another run; one more plan is not.
    write_bytes(dir_.file("more.json"),
                plan_text(R"({"index": 1, "action": "select", "ratio": 0.4})"));
    EXPECT_EQ(run({"--tasks", "piqa", "--plan", dir_.file("more.json"), "--samples", samples,
                   "--parallel", "4"})
                  .exit_code,
              0);
    std::string other = read_bytes(plan_);
    other.replace(other.find("0.4"), 3, "0.5");
    write_bytes(plan_, other);
    expect_failure(2, "another run, whose plan plan.json differs", arguments);
    expect_failure(2, "another run, whose correction_type differs",
                   {"--tasks", "piqa", "--samples", samples, "--correction-type", "f32"});
    expect_failure(2, "another run, whose parallel differs",
                   {"--tasks", "piqa", "--samples", samples, "--parallel", "2"});
    expect_failure(2, "another run, whose sharing differs",
                   {"--tasks", "piqa", "--samples", samples, "--parallel", "4", "--no-sharing"});
    expect_failure(2, "another run, whose documents piqa differs",
                   {"--tasks", "piqa", "--samples", samples, "--parallel", "4", "--limit", "3"});
    std::string made_by = read_bytes(samples + ".run.json");
    const std::string device = R"("device": ")";
    ASSERT_NE(made_by.find(device), std::string::npos);
    write_bytes(samples + ".run.json",
                made_by.insert(made_by.find(device) + device.size(), "another "));
    expect_failure(2, "another run, whose device differs",
                   {"--tasks", "piqa", "--samples", samples});
    std::filesystem::remove(samples + ".run.json");
    expect_failure(2, "name another file", arguments);
}

TEST_F(EvalCommand, AnswersAreScored) {
    const json result = run_json({"--tasks", "truthfulqa-gen", "--limit", "1"})["results"][0];
    EXPECT_EQ(result["metric"], "bleu_max");
    EXPECT_GE(result["value"].get<double>(), 0);
    EXPECT_TRUE(result["metrics"].contains("bleu_acc"));
    EXPECT_TRUE(result["metrics"].contains("bleu_diff"));
}

// Of two tasks in one run, one scores every row and one writes behind a prompt.
TEST_F(EvalCommand, AnswersKeepAPromptsLastRowsAndChoicesDoNot) {
    const std::string samples = dir_.file("samples.jsonl");
    const auto found = [&](const std::string &tasks, const std::vector<std::string> &more) {
        std::filesystem::remove(samples);
        std::filesystem::remove(samples + ".run.json");
        std::vector<std::string> arguments = {"--tasks",   tasks,   "--plan",    plan_,
                                              "--apply",   "both",  "--limit",   "2",
                                              "--samples", samples, "--no-dense"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProgramResult result = run(arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return std::pair(result.err, read_bytes(samples));
    };
    const auto choices = found("piqa", {});
    const auto kept = found("piqa", {"--keep-last", "4"});
    EXPECT_THAT(kept.first, HasSubstr("keep_last 4 is left out"));
    EXPECT_EQ(kept.second, choices.second);
    const auto answers = found("truthfulqa-gen", {"--keep-last", "4"});
    EXPECT_THAT(answers.first, Not(HasSubstr("left out")));
    const json made_by = json::parse(read_bytes(samples + ".run.json"));
    EXPECT_EQ(made_by["plan plan.json"]["keep_last"], 4);
    const auto both = found("piqa,truthfulqa-gen", {"--keep-last", "4"});
    EXPECT_THAT(both.first, HasSubstr("keep_last 4 is left out"));
    EXPECT_EQ(both.second, choices.second + answers.second);
}

TEST_F(EvalCommand, Failures) {
    expect_failure(2, "--tasks", {});
    expect_failure(2, "unknown task 'dance'", {"--tasks", "piqa,dance"});
    expect_failure(2, "truthfulqa-gen", {"--tasks", "dance"});
    expect_failure(1, "hellaswag", {"--tasks", "hellaswag"});
    expect_failure(2, "99", {"--tasks", "piqa", "--docs", "99"});
    expect_failure(2, "--limit", {"--tasks", "piqa", "--limit", "0"});
    expect_failure(2, "--no-dense", {"--tasks", "piqa", "--no-dense"});
    expect_failure(2, "named twice", {"--tasks", "piqa", "--plan", plan_, "--plan", plan_});
    expect_failure(2, "standard output", {"--tasks", "piqa", "--json", "-", "--markdown", "-"});
    expect_failure(1, "piqa: document 0 has ", {"--tasks", "piqa", "--ctx", "8"});
    write_bytes(dir_.file("TruthfulQA.csv"), "Question,Answers\nwhy?,a\n");
    expect_failure(1, "TruthfulQA.csv", {"--tasks", "truthfulqa-gen"});
    const std::string piqa = dir_.file("piqa/valid.jsonl");
    write_bytes(piqa, "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}\n{\"goal\": \"a\"}\n");
    expect_failure(1, "valid.jsonl:2: ", {"--tasks", "piqa"});
}

}  // namespace
}  // namespace orthorank::test
