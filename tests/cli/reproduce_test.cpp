// orthorank reproduce as a program, on a small model and small data sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>

#include "support/command_fixture.h"
#include "support/markup.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// All that another run of the same command must make again to the byte.
constexpr const char *k_untimed =
    "table1,table2,table3,table4,table5,table9,table10,fig2,fig3,fig4,fig5,fig7,fig8,fig9,fig10,"
    "fig11,fig12,fig13";

TinyModel six_layers() {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 6;
    return tiny;
}

class Reproduce : public CommandTest {
 protected:
    Reproduce() : CommandTest(six_layers()) {
        write_texts();
        write_tasks();
        write_truthfulqa();
        std::string records;
        for (int i = 0; i < 2; ++i) {
            records += R"({"input": "who?", "context": ")" +
                       std::string(static_cast<size_t>(40 + i), 'a') +
                       R"(", "answers": ["a dog"], "length": 4, "all_classes": null, "_id": "x"})"
                       "\n";
        }
        write("longbench/hotpotqa.jsonl", records);
    }

    std::string data() const { return dir_.file("data"); }

    void write(const std::string &name, const std::string &text) const {
        const std::filesystem::path path = std::filesystem::path(data()) / name;
        std::filesystem::create_directories(path.parent_path());
        write_bytes(path.string(), text);
    }

    std::vector<std::string> reproduce(const std::string &only) const {
        std::vector<std::string> arguments = {"reproduce", "--data",    data(), "-o",
                                              folder_,     "--windows", "2",    "--ctx",
                                              "32",        "--limit",   "2"};
        if (!only.empty()) {
            arguments.insert(arguments.end(), {"--only", only});
        }
        return arguments;
    }

    std::map<std::string, std::string> report() const {
        std::map<std::string, std::string> texts;
        for (const char *name : {"report.md", "report.html", "reproduce.json"}) {
            texts[name] = read_bytes(folder_ + "/" + name);
        }
        return texts;
    }

    json results() const {
        return json::parse(read_bytes(folder_ + "/reproduce.json")).at("results");
    }

    // Begins the command and kills it once it says this.
    void kill_when(const std::vector<std::string> &arguments, const std::string &says) const {
        std::vector<std::string> all = arguments;
        all.insert(all.end(), {"-m", model_, "--threads", "1"});
        RunningProgram program(std::string(ORTHORANK_BINARY_DIR) + "/orthorank", all);
        ASSERT_TRUE(program.says(says)) << program.err();
        program.send_signal(SIGKILL);
        EXPECT_EQ(program.wait().exit_code, 128 + SIGKILL);
    }

    std::string folder_ = dir_.file("out");

 private:
    void write_texts() const {
        std::string text;
        std::string lines;
        for (int i = 0; i < 60; ++i) {
            const std::string sentence =
                "the quick brown fox jumps over " + std::to_string(i * i) + " lazy dogs.";
            text += " " + sentence + "\n";
            lines += R"({"text": ")" + sentence + "\"}\n";
        }
        write("wikitext-2-raw/wiki.test.raw", text);
        write("wikitext-2-raw/wiki.train.raw", text);
        write("c4/c4-validation.00000-of-00008.json", lines);
    }

    void write_tasks() const {
        write("piqa/valid.jsonl", R"({"goal": "go", "sol1": "the dog sleeps", "sol2": "a fox"})"
                                  "\n"
                                  R"({"goal": "jump", "sol1": "a fox", "sol2": "the lazy dog"})"
                                  "\n");
        write("piqa/valid-labels.lst", "0\n1\n");
        const std::string arc =
            R"({"question": {"stem": "why", "choices": [{"text": "a dog", "label": "A"},)"
            R"( {"text": "fox", "label": "B"}]}, "answerKey": "B"})"
            "\n";
        write("arc/ARC-Easy-Test.jsonl", arc + arc);
        write("arc/ARC-Challenge-Test.jsonl", arc + arc);
    }

    void write_truthfulqa() const {
        const std::string question =
            R"({"question": "who jumps?", "mc1_targets": {"a fox": 1, "a dog": 0},)"
            R"( "mc2_targets": {"a fox": 1, "a dog": 0}})";
        write("truthfulqa/mc_task.json", "[" + question + ", " + question + "]");
        const std::string line = "Adversarial,Animals,who jumps?,a fox,a fox,a dog,none\r\n";
        write("truthfulqa/TruthfulQA.csv",
              "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\r\n" +
                  line + line);
    }
};

// One test, since the runs are long: killed and resumed, whole, and by --only of a whole one.
TEST_F(Reproduce, KilledResumedAndPartOfTheWholeAreTheSameReport) {
    const std::vector<std::string> part = reproduce(k_untimed);
    kill_when(part, "[5/");
    kill_when(part, "[30/");
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/report.md"));
    const ProgramResult resumed = run(part);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.out, HasSubstr("finished")) << "what was done is not done again";
    const auto found = report();

    std::filesystem::remove_all(folder_);
    const ProgramResult whole = run(reproduce(""));
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    const json all = results();
    ASSERT_EQ(run(part).exit_code, 0);
    EXPECT_EQ(report(), found);
    const json some = results();
    for (const json &entry : some) {
        EXPECT_THAT(all, testing::Contains(entry)) << entry["name"];
    }
    EXPECT_EQ(all.size(), some.size() + 3) << "table6, fig6 and fig14 are timed";
}

TEST_F(Reproduce, TablesFiguresAndClaims) {
    const ProgramResult result = run(reproduce("table1,table6,fig2,fig4,fig5,fig8"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, testing::AllOf(HasSubstr("about"), HasSubstr("search orthorank"),
                                           HasSubstr("claims: holds: ")));
    size_t n_figures = 0;
    for (const json &entry : results()) {
        SCOPED_TRACE(entry["name"].get<std::string>());
        EXPECT_FALSE(entry["commands"].empty());
        for (const json &figure : entry["figures"]) {
            const std::string base = folder_ + "/" + figure["name"].get<std::string>();
            EXPECT_TRUE(is_sound_svg(read_bytes(base + ".svg")));
            EXPECT_THAT(read_bytes(base + ".csv"), HasSubstr("\n"));
            ++n_figures;
        }
        for (const json &claim : entry["claims"]) {
            EXPECT_NE(claim["text"], "");
            // Few layers leave little to test behind l_sink.
            if (!entry["name"].get<std::string>().starts_with("fig2")) {
                EXPECT_NE(claim["outcome"], "not tested") << claim["text"];
            }
        }
    }
    // What Table 1 and Figure 8 both support is one claim.
    const std::string markdown = read_bytes(folder_ + "/report.md");
    EXPECT_THAT(markdown, HasSubstr("table1, fig8 |"));
    const auto elements = read_markup(read_bytes(folder_ + "/report.html"));
    EXPECT_EQ(elements_named(elements, "svg").size(), n_figures);
    EXPECT_TRUE(elements_named(elements, "script").empty());
    // The numbers are those of the commands that are named beside them.
    const json table = results()[0]["tables"][0]["rows"];
    const json alone =
        run_json({"perplexity", "--protocol", "paper", "--data", data(), "--ctx", "32", "--windows",
                  "2", "--plan", folder_ + "/plans/orthorank-20.json"});
    const double ppl = alone["results"][1]["ppl"];
    EXPECT_THAT(table[4]["perplexity"].get<std::string>(),
                testing::StartsWith(fmt::format("{:.2f} ", ppl)));
}

TEST_F(Reproduce, WhatIsMissingIsSaidAndTheRestRuns) {
    std::filesystem::remove_all(data() + "/piqa");
    std::filesystem::remove_all(data() + "/truthfulqa");
    const ProgramResult result = run(reproduce("table1,table2,table4"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, testing::AllOf(HasSubstr("left out: piqa"), HasSubstr("winogrande"),
                                           HasSubstr("truthfulqa-gen")));
    const json found = json::parse(read_bytes(folder_ + "/reproduce.json"));
    EXPECT_EQ(found["missing"].size(), 5u);
    EXPECT_NE(found["results"][0]["claims"][0]["outcome"], "not tested");
    EXPECT_FALSE(found["results"][1]["tables"][0]["rows"][1].contains("piqa"));
    EXPECT_NE(found["results"][1]["tables"][0]["rows"][1]["arc-easy"], "");
    EXPECT_EQ(found["results"][2]["claims"][0]["outcome"], "not tested");
    EXPECT_THAT(read_bytes(folder_ + "/report.md"), HasSubstr("## What is missing"));
}

TEST_F(Reproduce, WithoutCalibrationTextTheDenseModelIsLeft) {
    std::filesystem::remove(data() + "/wikitext-2-raw/wiki.train.raw");
    ASSERT_EQ(run(reproduce("table1,fig5")).exit_code, 0);
    const json found = json::parse(read_bytes(folder_ + "/reproduce.json"));
    EXPECT_NE(found["results"][0]["tables"][0]["rows"][0]["perplexity"], "");
    EXPECT_EQ(found["results"][0]["tables"][0]["rows"][1]["perplexity"], "");
    EXPECT_EQ(found["results"][0]["claims"][0]["remark"], "not measured here");
}

TEST_F(Reproduce, InterruptedItSaysWhatIsKept) {
    ProgramInput input;
    input.interrupts_at_progress = true;
    input.environment = {"TERM=xterm"};
    const ProgramResult result = run(reproduce("table1"), input);
    EXPECT_EQ(result.exit_code, 130) << result.err;
    EXPECT_THAT(result.err, HasSubstr("the same command continues"));
}

TEST_F(Reproduce, WrongInputGetsOneLine) {
    expect_failure(2, "required", {"reproduce", "--data", data()});
    expect_failure(2, "no table or figure 'table11'", reproduce("table1,table11"));
    std::vector<std::string> other = reproduce("table1");
    other.insert(other.end(), {"--budget", "huge"});
    expect_failure(2, "known: quick, standard, paper", other);
    expect_failure(1, "no such folder",
                   {"reproduce", "--data", dir_.file("none"), "-o", folder_, "--only", "table1"});
    expect_failure(1, "were asked for",
                   {"reproduce", "--data", data(), "-o", folder_, "--only", "table1", "--ctx", "32",
                    "--windows", "1000"});
    expect_failure(1, "context has",
                   {"reproduce", "--data", data(), "-o", folder_, "--ctx", "4096"});
    write("wikitext-2-raw/wiki.train.raw", "short\n");
    expect_failure(1, "not one window of 32", reproduce("table1"));
    EXPECT_FALSE(std::filesystem::exists(folder_));
    write("wikitext-2-raw/wiki.train.raw", read_bytes(data() + "/wikitext-2-raw/wiki.test.raw"));
    write_bytes(folder_, "a file");
    expect_failure(1, "cannot be made a folder", reproduce("table1"));
}

TEST(ReproduceFewLayers, AreRefused) {
    const TempDir dir;
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 1;
    write_tiny_gguf(tiny, dir.file("m.gguf"));
    const ProgramResult result = run_program(std::string(ORTHORANK_BINARY_DIR) + "/orthorank",
                                             {"reproduce", "-m", dir.file("m.gguf"), "--data",
                                              dir.path().string(), "-o", dir.file("out")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("has 1 layer:"));
}

}  // namespace
}  // namespace orthorank::test
