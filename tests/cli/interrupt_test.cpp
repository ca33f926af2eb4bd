// Ctrl-C: long work ends with 130 and one line, what was finished is kept, and the same command
// continues to the result of a run that nobody interrupted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int k_interrupted = 130;

// Large enough that a round, or a document, takes longer than the signal needs.
TinyModel twelve_layers() {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 12;
    return tiny;
}

class Interrupt : public CommandTest {
 protected:
    Interrupt() : CommandTest(twelve_layers()) {
        std::string text;
        for (int i = 0; i < 400; ++i) {
            text += "the quick brown fox jumps over the lazy dog number " + std::to_string(i * i) +
                    " and goes on\n";
        }
        write_bytes(text_, text);
    }

    // Sends SIGINT once the file is there, and expects the program's end in good order.
    void interrupt(const std::vector<std::string> &arguments, const std::string &when,
                   const std::string &says) const {
        ProgramInput input;
        input.interrupt_when = when;
        expect_interrupted(run(arguments, input), says);
    }

    // The same with the first of the progress that is drawn.
    void interrupt_at_work(const std::vector<std::string> &arguments) const {
        ProgramInput input;
        input.interrupts_at_progress = true;
        input.environment = {"TERM=xterm"};
        const ProgramResult result = run(arguments, input);
        expect_interrupted(result, "nothing was written");
        EXPECT_THAT(result.err, HasSubstr("%")) << "it had begun";
        EXPECT_EQ(result.out, "");
    }

    static void expect_interrupted(const ProgramResult &result, const std::string &says) {
        EXPECT_EQ(result.exit_code, k_interrupted) << result.err;
        EXPECT_THAT(result.err, HasSubstr("orthorank: interrupted"));
        EXPECT_THAT(result.err, HasSubstr(says));
    }

    std::string pipe(const std::string &name) const {
        EXPECT_EQ(::mkfifo(dir_.file(name).c_str(), 0600), 0);
        return dir_.file(name);
    }

    std::string text_ = dir_.file("text.txt");
};

TEST_F(Interrupt, ASearchContinuesToTheSamePlan) {
    const auto select = [&](const std::string &out) {
        return std::vector<std::string>{"select-layers",
                                        "--calibration",
                                        text_,
                                        "--seqlen",
                                        "128",
                                        "--windows",
                                        "12",
                                        "--layers",
                                        "6",
                                        "-o",
                                        out};
    };
    const std::string cut = dir_.file("cut.json");
    const std::string whole = dir_.file("whole.json");
    interrupt(select(cut), cut + ".partial", "the same command continues there");
    EXPECT_FALSE(std::filesystem::exists(cut));
    ASSERT_TRUE(std::filesystem::exists(cut + ".partial"));
    const ProgramResult resumed = run(select(cut));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.err, HasSubstr("continuing after"));
    EXPECT_FALSE(std::filesystem::exists(cut + ".partial"));
    const ProgramResult uninterrupted = run(select(whole));
    EXPECT_EQ(uninterrupted.exit_code, 0) << uninterrupted.err;
    const auto layers = [](const std::string &path) {
        return nlohmann::json::parse(read_bytes(path)).at("layers");
    };
    EXPECT_EQ(layers(cut), layers(whole));
}

TEST_F(Interrupt, AnEvaluationContinuesToTheSameScores) {
    std::filesystem::create_directory(dir_.path() / "piqa");
    std::string goals;
    std::string labels;
    for (int i = 0; i < 60; ++i) {
        goals += R"({"goal": "go )" + std::string(static_cast<size_t>(200 + i), 'a') +
                 R"(", "sol1": "the dog sleeps", "sol2": "a fox"})" + "\n";
        labels += i % 2 == 0 ? "0\n" : "1\n";
    }
    write_bytes(dir_.file("piqa/valid.jsonl"), goals);
    write_bytes(dir_.file("piqa/valid-labels.lst"), labels);
    const std::vector<std::string> eval = {"eval", "--tasks", "piqa", "--data",
                                           dir_.path().string()};
    const std::string samples = dir_.file("samples.jsonl");
    std::vector<std::string> kept = eval;
    kept.insert(kept.end(), {"--samples", samples});
    interrupt(kept, samples, "the same command continues there");
    const auto n_lines = [&] {
        const std::string text = read_bytes(samples);
        return std::count(text.begin(), text.end(), '\n');
    };
    EXPECT_GT(n_lines(), 0);
    EXPECT_LT(n_lines(), 60);
    const nlohmann::json resumed = run_json(kept);
    EXPECT_EQ(n_lines(), 60);
    EXPECT_EQ(resumed["results"], run_json(eval)["results"]);
}

TEST_F(Interrupt, LongBenchContinuesToTheSamePredictions) {
    std::filesystem::create_directory(dir_.path() / "longbench");
    std::string records;
    for (int i = 0; i < 20; ++i) {
        records += R"({"input": "who?", "context": ")" +
                   std::string(static_cast<size_t>(100 + i), 'a') +
                   R"(", "answers": ["a dog"], "length": 4, "all_classes": null, "_id": "x",)"
                   R"( "dataset": "hotpotqa"})"
                   "\n";
    }
    write_bytes(dir_.file("longbench/hotpotqa.jsonl"), records);
    const auto longbench = [&](const std::string &folder) {
        return std::vector<std::string>{
            "longbench",    "--sets", "hotpotqa", "--data",         dir_.path().string(),
            "--max-length", "200",    "--output", dir_.file(folder)};
    };
    const std::string cut = dir_.file("cut/dense/hotpotqa.jsonl");
    interrupt(longbench("cut"), cut, "the finished predictions are kept");
    const std::string kept = read_bytes(cut);
    EXPECT_THAT(kept, EndsWith("\n"));
    run_json(longbench("cut"));
    run_json(longbench("whole"));
    const std::string whole = read_bytes(dir_.file("whole/dense/hotpotqa.jsonl"));
    EXPECT_THAT(whole, StartsWith(kept));
    EXPECT_LT(kept.size(), whole.size());
    EXPECT_EQ(read_bytes(cut), whole);
}

TEST_F(Interrupt, WhatWritesAtItsEndWritesNothing) {
    const std::string json = dir_.file("never.json");
    const std::vector<std::vector<std::string>> commands = {
        {"perplexity", "-f", text_, "--ctx", "32"},
        {"bench", "--arms", "dense", "--prefill", "64", "-f", text_, "--repetitions", "2000"},
        {"trace", "--plan", plan_, "-f", text_, "--decode", "1900"}};
    for (std::vector<std::string> command : commands) {
        SCOPED_TRACE(command.front());
        command.insert(command.end(), {"--json", json});
        interrupt_at_work(command);
        EXPECT_FALSE(std::filesystem::exists(json));
    }
}

TEST_F(Interrupt, TextEndsWhereItIs) {
    const std::string out = dir_.file("out");
    ProgramInput input;
    input.out_path = out;
    input.interrupt_when = out;
    const ProgramResult result =
        run({"generate", "-p", "the", "-n", "2000", "--temp", "1", "--seed", "1"}, input);
    expect_interrupted(result, "the text ends here");
    EXPECT_NE(read_bytes(out), "");
}

TEST_F(Interrupt, AnExportLeavesNothingBehind) {
    const std::string plan = pipe("plan");
    std::filesystem::create_directory(dir_.path() / "out");
    ProgramInput input;
    input.interrupt_when = plan;
    input.text = plan_text(R"({"index": 1, "action": "skip"})", 12);
    const std::vector<std::string> command = {"export", "--plan", plan, "-o",
                                              dir_.file("out/x.gguf")};
    expect_interrupted(run(command, input), "nothing was written");
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path() / "out"));
}

}  // namespace
}  // namespace orthorank::test
