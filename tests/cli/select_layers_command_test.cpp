// `orthorank select-layers` and `export` on a tiny model: plans written, levels derived, failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/select_layers_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;

TEST_F(SelectLayersCommand, BruteForceFindsTheSameWithMoreWork) {
    const json result =
        run_json(select({"--layers", "3", "-o", out_, "--brute-force"})).at("results").at(0);
    EXPECT_EQ(result.at("brute_force").at("is_same_order"), true);
    EXPECT_EQ(result.at("brute_force").at("losses"), result.at("search").at("losses"));
    EXPECT_GT(result.at("brute_force").at("evaluations_ratio").get<double>(), 1.2);
    EXPECT_THAT(result.at("search").at("order"), SizeIs(3));
    EXPECT_FALSE(std::filesystem::exists(out_ + ".partial"));
    const json plan = read("found.json");
    EXPECT_EQ(plan.at("provenance").at("method"), "sleb");
    EXPECT_THAT(layers("found.json"), SizeIs(3));
    EXPECT_EQ(plan.at("layers").at(0).at("ratio"), 0.333);
}

// It was compared with a search of fewer layers: another order, it was said.
TEST_F(SelectLayersCommand, BruteForceSearchesAsFarAsARunThatContinues) {
    ASSERT_EQ(run(select({"--layers", "3", "--correct", "65", "-o", out_})).exit_code, 2);
    ASSERT_TRUE(std::filesystem::exists(out_ + ".partial"));
    const json result =
        run_json(select({"--layers", "2", "-o", out_, "--brute-force"})).at("results").at(0);
    EXPECT_THAT(result.at("search").at("order"), SizeIs(3));
    EXPECT_EQ(result.at("brute_force").at("order"), result.at("search").at("order"));
    EXPECT_EQ(result.at("brute_force").at("is_same_order"), true);
    EXPECT_THAT(layers("found.json"), SizeIs(2));
}

// Ctrl-C behind the rounds: a search by scores was kept only with the plan's loss, and it was said
// that nothing was written, or finished.
TEST_F(SelectLayersCommand, InterruptedBehindTheRounds) {
    std::string text;
    for (int i = 0; i < 600; ++i) {
        text += "the quick brown fox jumps over the lazy dog number " + std::to_string(i) + "\n";
    }
    write_bytes(text_, text);
    const auto interrupted = [&](const std::string &when, std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), {"select-layers", "--calibration", text_, "--seqlen",
                                             "128", "--windows", "40", "-o", out_});
        ProgramInput input;
        input.interrupt_when = when;
        const ProgramResult result = run(arguments, input);
        EXPECT_EQ(result.exit_code, 130) << result.err;
        return result.err;
    };
    EXPECT_THAT(interrupted(out_ + ".partial", {"--method", "shortened-taylor", "--layers", "2"}),
                HasSubstr("interrupted; the finished search is kept in"));
    EXPECT_TRUE(std::filesystem::exists(out_ + ".partial"));
    EXPECT_FALSE(std::filesystem::exists(out_));
    std::filesystem::remove(out_ + ".partial");
    EXPECT_THAT(interrupted(out_, {"--layers", "1", "--brute-force"}),
                HasSubstr("the plan is written: " + out_));
    EXPECT_THAT(layers("found.json"), SizeIs(1));
}

TEST_F(SelectLayersCommand, SparsityGivesTheCountAndSmallerLevelsComeFromThePlan) {
    const ProgramResult found = run(select({"--sparsity", "25%", "-o", out_}));
    ASSERT_EQ(found.exit_code, 0) << found.err;
    EXPECT_THAT(found.out, AllOf(HasSubstr("3 windows of 32"), HasSubstr("3 of 8 layers selecting"),
                                 HasSubstr("effective sparsity 25.0%"), HasSubstr("dense loss")));
    const std::string two = dir_.file("two.json");
    ASSERT_EQ(run({"select-layers", "--from", out_, "--layers", "2", "-o", two}).exit_code, 0);
    EXPECT_THAT(layers("two.json"), SizeIs(2));
    for (int il : layers("two.json")) {
        EXPECT_EQ(layers("found.json").count(il), 1u);
    }
    const json used = run_json({"perplexity", "-f", text_, "--ctx", "32", "--plan", two});
    EXPECT_THAT(used.at("results"), SizeIs(2));
}

TEST_F(SelectLayersCommand, EveryMethodWritesAPlan) {
    for (const std::string method : {"sleb", "shortened-ppl", "shortened-taylor"}) {
        for (const std::string convert : {"skip", "select"}) {
            SCOPED_TRACE(method + " " + convert);
            const ProgramResult found = run(
                select({"--method", method, "--convert", convert, "--layers", "2", "-o", out_}));
            ASSERT_EQ(found.exit_code, 0) << found.err;
            const json plan = read("found.json");
            EXPECT_EQ(plan.at("provenance").at("method"), method);
            ASSERT_THAT(plan.at("layers"), SizeIs(2));
            for (const json &layer : plan.at("layers")) {
                EXPECT_EQ(layer.at("action"), convert);
                // The "plus" rule, or SLEB's barriers.
                EXPECT_GE(layer.at("index").get<int>(), method == "sleb" ? 1 : 4);
                EXPECT_LE(layer.at("index").get<int>(), method == "sleb" ? 6 : 5);
            }
        }
    }
}

TEST_F(SelectLayersCommand, RaceIsLabelled) {
    ASSERT_EQ(run(select({"--layers", "2", "--race", "-o", out_})).exit_code, 0);
    EXPECT_EQ(read("found.json").at("provenance").at("search"), "race");
    const ProgramResult compared =
        run(select({"--layers", "2", "--race", "--brute-force", "-o", out_}));
    EXPECT_THAT(compared.out, AllOf(HasSubstr(" order; layer evaluations "), HasSubstr("x), ")));
    ASSERT_EQ(run(select({"--layers", "2", "-o", out_})).exit_code, 0);
    EXPECT_EQ(read("found.json").at("provenance").at("search"), "exact");
}

TEST_F(SelectLayersCommand, PartialFilesOfOtherSearchesAreRefused) {
    const json other = {{"format", "orthorank-partial"}, {"version", 1}, {"key", {{"a", 1}}}};
    write_bytes(out_ + ".partial", other.dump());
    expect_failure(2, "--restart", select({"--layers", "3", "-o", out_}));
    ASSERT_EQ(run(select({"--layers", "3", "-o", out_, "--restart"})).exit_code, 0);
    EXPECT_THAT(layers("found.json"), SizeIs(3));
    EXPECT_FALSE(std::filesystem::exists(out_ + ".partial"));
}

TEST_F(SelectLayersCommand, SweepGivesATableAndAPlot) {
    const std::string csv = dir_.file("sweep.csv");
    const std::string svg = dir_.file("sweep.svg");
    const json sweep = run_json(select({"--sweep", "--csv", csv, "--svg", svg}));
    ASSERT_THAT(sweep.at("results"), SizeIs(4));
    std::set<std::string> changes;
    for (const json &curve : sweep.at("results")) {
        changes.insert(curve.at("change"));
        EXPECT_THAT(curve.at("losses"), SizeIs(8));
        EXPECT_THAT(curve.at("losses").get<std::vector<double>>(), Each(testing::Gt(0.0)));
    }
    EXPECT_THAT(changes, testing::UnorderedElementsAre("orthogonal", "orthogonal-reverse", "random",
                                                       "removed"));
    std::istringstream lines(read_bytes(csv));
    std::string line;
    int n_lines = 0;
    while (std::getline(lines, line)) {
        EXPECT_EQ(std::count(line.begin(), line.end(), ','), 5) << line;  // dense and four
        ++n_lines;
    }
    EXPECT_EQ(n_lines, 9);
    EXPECT_THAT(read_bytes(svg), AllOf(testing::StartsWith("<svg"), HasSubstr("</svg>")));
}

TEST_F(SelectLayersCommand, ExportedPlanIsTheModelWithoutThoseLayers) {
    ASSERT_EQ(run(select({"--convert", "skip", "--layers", "2", "-o", out_})).exit_code, 0);
    const std::string smaller = dir_.file("smaller.gguf");
    const ProgramResult exported = run({"export", "--plan", out_, "-o", smaller});
    ASSERT_EQ(exported.exit_code, 0) << exported.err;
    const json pruned = run_json({"perplexity", "-f", text_, "--ctx", "32", "--plan", out_});
    model_ = smaller;
    const json alone = run_json({"perplexity", "-f", text_, "--ctx", "32"});
    EXPECT_EQ(alone.at("results").at(0).at("ppl"), pruned.at("results").at(1).at("ppl"));
}

// A folder that is not there was found out when the search was done.
TEST_F(SelectLayersCommand, OutputsWithoutAFolderAreFoundBeforeTheModelIsRead) {
    model_ = dir_.file("none.gguf");
    const std::string nowhere = dir_.file("none/file");
    const std::string message = "none/file: cannot be written: no folder";
    expect_failure(1, message, select({"--layers", "1", "-o", nowhere}));
    expect_failure(1, message, select({"--layers", "1", "-o", out_, "--json", nowhere}));
    expect_failure(1, message, select({"--refit", plan_, "-o", nowhere}));
    expect_failure(1, message,
                   select({"--joint", "--sparsity", "20%", "--correct", "1", "-o", nowhere}));
    expect_failure(1, message, select({"--sweep", "--csv", nowhere}));
    expect_failure(1, message, select({"--sweep", "--svg", nowhere}));
    expect_failure(1, message, {"export", "--plan", plan_, "-o", nowhere});
    const std::vector<std::string> eval = {"eval", "--tasks", "piqa", "--data", "x"};
    for (const char *option : {"--json", "--markdown", "--samples"}) {
        std::vector<std::string> arguments = eval;
        arguments.insert(arguments.end(), {option, nowhere});
        expect_failure(1, message, arguments);
    }
    expect_failure(1, "is a directory", select({"--layers", "1", "-o", dir_.path().string()}));
    expect_failure(2, "/dev/null is no file: a search keeps what is finished beside its plan",
                   select({"--layers", "1", "-o", "/dev/null"}));
}

// They were passed over without a word.
TEST_F(SelectLayersCommand, OptionsThatWouldDoNothingAreRefused) {
    model_ = dir_.file("none.gguf");  // before it is looked for
    const auto refused = [&](const std::string &part, std::vector<std::string> more) {
        SCOPED_TRACE(part);
        more.insert(more.end(), {"-o", out_});
        expect_failure(2, part, select(more));
    };
    const auto search = [&](const std::string &part, std::vector<std::string> more) {
        more.insert(more.end(), {"--layers", "1"});
        refused(part, more);
    };
    search("--moves does nothing: it goes with --joint", {"--moves", "4"});
    search("--kl-windows does nothing: it goes with --joint", {"--kl-windows", "1"});
    search("--choices does nothing", {"--choices", "skip"});
    search("--target-time does nothing", {"--target-time", "0.8"});
    search("--csv does nothing: it goes with --sweep", {"--csv", dir_.file("a.csv")});
    search("--ratio does nothing: a removed", {"--convert", "skip", "--ratio", "0.5"});
    search("--policy does nothing: a removed", {"--convert", "skip", "--policy", "cosine"});
    search("--seed does nothing: only policy random", {"--seed", "3"});
    search("--no-plus does nothing", {"--no-plus"});
    search("--race does nothing: the methods", {"--method", "shortened-ppl", "--race"});
    search("--exact does nothing: the methods", {"--method", "shortened-ppl", "--exact"});
    search("--memory does nothing", {"--method", "shortened-taylor", "--memory", "5"});
    search("--stride does nothing: crops", {"--protocol", "crops", "--stride", "5"});
    const std::vector<std::string> joint = {"--joint", "--sparsity", "20%", "--correct", "1"};
    for (std::vector<std::string> more : std::vector<std::vector<std::string>>{
             {"--race"}, {"--exact"}, {"--no-plus"}, {"--ratio", "0.4"}, {"--layers", "2"}}) {
        const std::string part = more.front() + " does nothing: --joint decides";
        more.insert(more.begin(), joint.begin(), joint.end());
        refused(part, more);
    }
    std::vector<std::string> moves = joint;
    moves.insert(moves.end(), {"--brute-force", "--moves", "2"});
    refused("--moves does nothing: --brute-force", moves);
    refused("--restart does nothing: --refit takes", {"--refit", plan_, "--restart"});
    refused("--seed does nothing", {"--refit", plan_, "--seed", "3"});
    refused("--output does nothing: --sweep", {"--sweep", "--csv", dir_.file("a.csv")});
    refused("--refit and --sweep exclude each other", {"--refit", plan_, "--sweep"});
    expect_failure(2, "--json does nothing: --from computes nothing",
                   {"select-layers", "--from", plan_, "--layers", "1", "-o", out_, "--json", "-"});
}

TEST_F(SelectLayersCommand, Failures) {
    expect_failure(2, "-o", select({"--layers", "2"}));
    expect_failure(2, "1 to 6 can be", select({"--layers", "7", "-o", out_}));
    expect_failure(2, "unknown method", select({"--method", "best", "--layers", "1", "-o", out_}));
    expect_failure(2, "unknown policy", select({"--policy", "best", "--layers", "1", "-o", out_}));
    expect_failure(2, "sparsity", select({"--sparsity", "120%", "-o", out_}));
    expect_failure(2, "exclude each other",
                   select({"--race", "--exact", "--layers", "1", "-o", out_}));
    expect_failure(
        1, "none.txt",
        {"select-layers", "--calibration", dir_.file("none.txt"), "--layers", "1", "-o", out_});
    expect_failure(
        1, "window",
        {"select-layers", "--calibration", text_, "--seqlen", "4096", "--layers", "1", "-o", out_});
    expect_failure(1, "records no order",
                   {"select-layers", "--from", plan_, "--layers", "1", "-o", out_});
    expect_failure(2, "no plan of 20%",
                   {"perplexity", "-f", text_, "--ctx", "32", "--sparsity", "20%"});
    EXPECT_FALSE(std::filesystem::exists(out_));
}

}  // namespace
}  // namespace orthorank::test
