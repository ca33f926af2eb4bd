// The files of the command line: none is lost, whatever it is named; devices, pipes and descriptors
// are used as they are; what cannot be written is one line and exit code 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Arguments = std::vector<std::string>;

class CommandLineFiles : public CommandTest {
 protected:
    CommandLineFiles() {
        std::string text;
        for (int i = 0; i < 30; ++i) {
            text += "the fox and the dog ";
        }
        write_bytes(text_, text);
        fs::create_directory(dir_.path() / "piqa");
        write_bytes(dir_.file("piqa/valid.jsonl"),
                    "{\"goal\": \"go\", \"sol1\": \"the fox\", \"sol2\": \"a dog\"}\n");
        write_bytes(dir_.file("piqa/valid-labels.lst"), "1\n");
        fs::create_directory(dir_.path() / "longbench");
        write_bytes(dir_.file("longbench/hotpotqa.jsonl"),
                    R"({"input": "who?", "context": "a dog", "answers": ["dog"], "length": 4,)"
                    R"( "all_classes": null, "_id": "x"})"
                    "\n");
    }

    // Each command with its inputs, quick to run.
    std::vector<Arguments> commands() const {
        const std::string data = dir_.path().string();
        return {{"generate", "-f", text_, "-n", "1"},
                {"perplexity", "-f", text_, "--ctx", "16", "--windows", "1"},
                {"eval", "--tasks", "piqa", "--data", data},
                {"longbench", "--sets", "hotpotqa", "--data", data, "--output", dir_.file("pred"),
                 "--max-length", "20", "--no-dense", "--plan", plan_},
                {"trace", "-f", text_, "--tokens", "8", "--plan", plan_},
                {"bench", "--prefill", "4", "--repetitions", "1", "--warmup", "0", "--arms",
                 "dense," + plan_, "-f", text_},
                {"info", "--plan", plan_},
                sweep()};
    }
    Arguments search(const std::string &out) const {
        return {"select-layers",
                "--calibration",
                text_,
                "--seqlen",
                "16",
                "--windows",
                "1",
                "--layers",
                "1",
                "-o",
                out};
    }
    Arguments sweep() const {
        return {"select-layers",
                "--calibration",
                text_,
                "--seqlen",
                "16",
                "--windows",
                "1",
                "--sweep",
                "--csv",
                dir_.file("sweep.csv")};
    }
    static Arguments with(Arguments arguments, const Arguments &more) {
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    // Refused, and every input as it was.
    void expect_kept(const Arguments &arguments, const std::string &part = "are the same file") {
        SCOPED_TRACE(testing::PrintToString(arguments));
        const std::vector<std::string> inputs = {model_,
                                                 plan_,
                                                 text_,
                                                 dir_.file("piqa/valid.jsonl"),
                                                 dir_.file("piqa/valid-labels.lst"),
                                                 dir_.file("longbench/hotpotqa.jsonl")};
        std::vector<std::string> before;
        for (const std::string &input : inputs) {
            before.push_back(read_bytes(input));
        }
        expect_failure(2, part, arguments);
        for (size_t i = 0; i < inputs.size(); ++i) {
            EXPECT_EQ(read_bytes(inputs[i]), before[i]) << inputs[i];
        }
    }
    // The program by a shell, with $P for it and the model's options behind.
    ProgramResult shell(const std::string &line) const {
        return run_program("/bin/sh", {"-c", line},
                           {"", {"P=" ORTHORANK_PROGRAM, "M=-m " + model_ + " --threads 1"}, ""});
    }

    std::string text_ = dir_.file("text.txt");
};

TEST_F(CommandLineFiles, OutputsNamedLikeInputsAreRefused) {
    for (const Arguments &command : commands()) {
        expect_kept(with(command, {"--json", model_}));
    }
    expect_kept(with(commands()[0], {"--json", text_}));
    expect_kept(with(commands()[1], {"--json", text_}));
    expect_kept(with(commands()[4], {"--json", plan_}));
    expect_kept(with(commands()[5], {"--csv", plan_}));
    expect_kept(with(commands()[5], {"--svg", text_}));
    expect_kept(with(commands()[6], {"--json", plan_}));
    expect_kept(search(text_));
    expect_kept({"select-layers", "--refit", plan_, "--calibration", text_, "-o", plan_});
    expect_kept({"export", "--embed", "--plan", plan_, "-o", model_});
    // Found in a data folder, before anything is computed.
    expect_kept(with(commands()[2], {"--json", dir_.file("piqa/valid.jsonl")}));
    expect_kept(with(commands()[2], {"--markdown", dir_.file("piqa/valid-labels.lst")}));
    expect_kept(with(commands()[3], {"--json", dir_.file("longbench/hotpotqa.jsonl")}));
    EXPECT_FALSE(fs::exists(dir_.file("pred/plan/hotpotqa.jsonl")));
}

TEST_F(CommandLineFiles, LinksAndOtherSpellingsOfAnInputToo) {
    fs::create_symlink("text.txt", dir_.file("link"));
    fs::create_hard_link(text_, dir_.file("hard"));
    fs::create_symlink("m.gguf", dir_.file("model-link"));
    for (const std::string &name :
         {dir_.file("link"), dir_.file("hard"), dir_.file("piqa/../text.txt")}) {
        expect_kept(with(commands()[1], {"--json", name}));
    }
    expect_kept(with(commands()[6], {"--json", dir_.file("model-link")}));
    expect_kept({"export", "--embed", "--plan", plan_, "-o", dir_.file("model-link")});
    EXPECT_TRUE(fs::is_symlink(dir_.file("model-link")));
}

// Which of them is chosen is known when the model is: all that are looked through are inputs.
TEST_F(CommandLineFiles, AShippedPlanThatIsReadIsNotReplaced) {
    fs::create_directory(dir_.path() / "plans");
    const std::string shipped = dir_.file("plans/a.json");
    write_bytes(shipped, read_bytes(plan_));
    ProgramInput input;
    input.environment = {"ORTHORANK_PLANS_DIR=" + dir_.file("plans")};
    const std::vector<Arguments> commands = {
        {"info", "--sparsity", "20%", "--json", shipped},
        {"generate", "-p", "a", "-n", "1", "--sparsity", "20%", "--json", shipped},
        {"bench", "--prefill", "4", "--arms", "dense,sparsity:20%", "--csv", shipped}};
    for (const Arguments &command : commands) {
        const ProgramResult result = run(command, input);
        EXPECT_EQ(result.exit_code, 2) << command.front();
        EXPECT_THAT(result.err, HasSubstr("are the same file"));
        EXPECT_EQ(read_bytes(shipped), read_bytes(plan_));
    }
    const ProgramResult beside =
        run({"info", "--plan", plan_, "--json", dir_.file("plans/b.json")}, input);
    EXPECT_EQ(beside.exit_code, 0) << beside.err;
}

TEST_F(CommandLineFiles, TwoOutputsOfOneNameAreRefused) {
    const std::string out = dir_.file("out");
    const Arguments bench = commands()[5];
    expect_kept(with(bench, {"--csv", out, "--json", out}));
    expect_kept(with(bench, {"--csv", "-", "--json", "/dev/stdout"}), "cannot both have standard");
    const Arguments eval = commands()[2];
    expect_kept(with(eval, {"--samples", out, "--json", dir_.file("piqa/../out")}));
    expect_kept(with(eval, {"--samples", out, "--json", out + ".run.json"}));
    expect_kept(with(search(out), {"--json", out + ".partial"}));
    expect_kept(
        with(search(dir_.file("p.json")), {"--correct", "0", "--json", dir_.file("p.gguf")}));
    fs::create_directories(dir_.file("pred/plan"));
    expect_kept(with(commands()[3], {"--json", dir_.file("pred/plan/hotpotqa.jsonl")}));
    EXPECT_FALSE(fs::exists(out));
}

TEST_F(CommandLineFiles, NoModelIsReplaced) {
    const std::string other = dir_.file("other.gguf");
    write_bytes(other, "GGUF somebody's");
    const std::string part = "other.gguf is there and is a GGUF file, which is not replaced";
    expect_kept(with(commands()[6], {"--json", other}), part);
    expect_kept(with(commands()[5], {"--svg", other}), part);
    expect_kept(search(other), part);
    expect_kept({"export", "--embed", "--plan", plan_, "-o", other}, part);
    EXPECT_EQ(read_bytes(other), "GGUF somebody's");
}

// Hours of work would have ended in it.
TEST_F(CommandLineFiles, WhatCannotBeWrittenIsRefusedAtOnce) {
    const std::string plan = dir_.file("new.json");
    fs::create_directory(plan + ".partial");
    expect_failure(1, "new.json.partial: cannot be written: it is a directory", search(plan));
    fs::remove(plan + ".partial");
    fs::create_symlink(dir_.file("no/where"), plan + ".partial");
    expect_failure(1, "new.json.partial: cannot be written: no folder", search(plan));
    expect_failure(2, "is no file, and the plan's numbers go to one beside it",
                   {"select-layers", "--refit", plan_, "--calibration", text_, "-o", "/dev/null"});
    expect_failure(2, "an interrupted run goes on with it: name a file",
                   with(commands()[2], {"--samples", "/dev/null"}));
}

// It ended as "internal error", exit code 3.
TEST_F(CommandLineFiles, FullDevicesAreOneLine) {
    for (const Arguments &command : commands()) {
        SCOPED_TRACE(testing::PrintToString(command));
        expect_failure(1, "/dev/full: cannot be written: No space left",
                       with(command, {"--json", "/dev/full"}));
        for (const Arguments &more : {Arguments{}, Arguments{"--json", "-"}}) {
            const ProgramResult result = run(with(command, more), {"", {}, "/dev/full"});
            EXPECT_EQ(result.exit_code, 1);
            EXPECT_THAT(result.err, HasSubstr("orthorank: standard output cannot be written: "
                                              "No space left on device\n"));
        }
    }
    for (const char *option : {"--csv", "--svg", "--markdown"}) {
        expect_failure(1, "/dev/full: cannot be written",
                       with(commands()[5], {option, "/dev/full"}));
    }
    expect_failure(1, "/dev/full: cannot be written",
                   with(commands()[2], {"--markdown", "/dev/full"}));
    expect_failure(1, "/dev/full: cannot be written",
                   {"export", "--embed", "--plan", plan_, "-o", "/dev/full"});
    EXPECT_EQ(run({"--version"}, {"", {}, "/dev/full"}).exit_code, 1);
    EXPECT_EQ(run({"info", "--help"}, {"", {}, "/dev/full"}).exit_code, 1);
    EXPECT_EQ(shell("$P info $M --json /none/x 2>/dev/full").exit_code, 1);
}

TEST_F(CommandLineFiles, FilesAreWrittenBeforeTheTable) {
    for (const Arguments &command : commands()) {
        if (command[0] == "generate") {
            continue;  // prints as it goes
        }
        SCOPED_TRACE(command[0]);
        const std::string out = dir_.file(command[0] + ".json");
        EXPECT_EQ(run(with(command, {"--json", out}), {"", {}, "/dev/full"}).exit_code, 1);
        EXPECT_TRUE(fs::exists(out) || command[0] == "select-layers");
    }
}

TEST_F(CommandLineFiles, DevicesAndPipesAreWrittenInto) {
    EXPECT_EQ(run({"export", "--embed", "--plan", plan_, "-o", "/dev/null"}).exit_code, 0);
    EXPECT_EQ(run({"info", "--json", "/dev/null"}).exit_code, 0);
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    EXPECT_EQ(run({"export", "--embed", "--plan", plan_, "-o", dir_.file("e.gguf")}).exit_code, 0);
    const ProgramResult piped = shell(
        "$P export $M --embed --plan " + plan_ + " -o /dev/stdout | cmp - " + dir_.file("e.gguf") +
        " && $P export $M --embed --plan " + plan_ + " -o - | cmp - " + dir_.file("e.gguf"));
    EXPECT_EQ(piped.exit_code, 0) << piped.err << piped.out;
}

TEST_F(CommandLineFiles, OpenDescriptorsAreUsedAsTheyAre) {
    const std::string log = dir_.file("log");
    write_bytes(log, "before\n");
    EXPECT_EQ(shell("$P info $M --json /dev/stdout >> " + log).exit_code, 0);
    const std::string logged = read_bytes(log);
    EXPECT_THAT(logged, StartsWith("before\n{"));
    EXPECT_TRUE(json::accept(logged.substr(7))) << "nothing else is printed there";
    EXPECT_EQ(shell("$P info $M --json /dev/fd/3 3>> " + log + " >/dev/null").exit_code, 0);
    EXPECT_THAT(read_bytes(log), StartsWith(logged + "{"));
    // What a shell has read of a file is not read again.
    write_bytes(text_, "first line\nthe fox");
    const ProgramResult rest =
        shell("{ read -r line; $P trace $M --plan " + plan_ + " --json -; } < " + text_);
    const json tokens = json::parse(rest.out, nullptr, false)["tokens"];
    EXPECT_EQ(tokens, run_json({"trace", "--plan", plan_, "-p", "the fox"})["tokens"]);
    const ProgramResult named = shell("{ read -r line; $P trace $M --plan " + plan_ +
                                      " -f /dev/stdin --json -; } < " + text_);
    EXPECT_EQ(named.out.substr(named.out.find("\"results\"")),
              rest.out.substr(rest.out.find("\"results\"")));
}

// A reader that has seen enough is no failure to tell of.
TEST_F(CommandLineFiles, AClosedPipeEndsQuietly) {
    const ProgramResult result = shell("{ $P info $M; echo $? >&2; } | true");
    EXPECT_THAT(result.err, testing::AnyOf("141\n", "0\n"));
}

class NamedBadly : public CommandLineFiles {
 protected:
    // The title of a terminal's window, and no UTF-8.
    NamedBadly() {
        TinyModel tiny = tiny_llama();
        tiny.name = "\x1b]0;x\x07 \xff";
        write_tiny_gguf(tiny, model_);
    }
};

TEST_F(NamedBadly, NamesAreShownWithoutTerminalEscapes) {
    const std::string plan = dir_.file("p\x1b[2J.json");
    fs::copy_file(plan_, plan);
    for (const Arguments &arguments :
         {Arguments{"info", "--plan", plan},
          Arguments{"perplexity", "-f", text_, "--ctx", "16", "--plan", plan},
          Arguments{"info", "--plan", dir_.file("none\x1b[2J.json")},
          Arguments{"info", "--\x1b[2J"}}) {
        const ProgramResult result = run(arguments);
        EXPECT_THAT(result.out + result.err,
                    AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\xff")), HasSubstr("\\x1b[2J")));
    }
    EXPECT_THAT(run({"info"}).out, HasSubstr("model        \\x1b]0;x\\x07 \\xff\n"));
    EXPECT_EQ(run_json({"info"})["model"]["name"], "\x1b]0;x\x07 \\xff");
}

// Both ended as internal errors.
TEST_F(NamedBadly, RunsWithSuchNamesGoOn) {
    const std::string plan = dir_.file("p\xff.json");
    fs::copy_file(plan_, plan);
    const std::string samples = dir_.file("s\xff.jsonl");
    const Arguments eval = with(commands()[2], {"--plan", plan, "--samples", samples});
    EXPECT_EQ(run(eval).exit_code, 0);
    const std::string lines = read_bytes(samples);
    EXPECT_THAT(run(eval).err, HasSubstr("going on after 2 samples"));
    EXPECT_EQ(read_bytes(samples), lines);

    const std::string text = dir_.file("t\xff.txt");
    fs::copy_file(text_, text);
    const std::string out = dir_.file("new\xff.json");
    const Arguments corrected = {"select-layers",
                                 "--calibration",
                                 text,
                                 "--seqlen",
                                 "16",
                                 "--windows",
                                 "1",
                                 "--layers",
                                 "1",
                                 "--correct",
                                 "0",
                                 "-o",
                                 out};
    const ProgramResult result = run(corrected);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_FALSE(fs::exists(out + ".partial"));
    EXPECT_FALSE(fs::exists(out + ".partial.lock"));
    EXPECT_EQ(run({"info", "--plan", out}).exit_code, 0);
}

}  // namespace
}  // namespace orthorank::test
