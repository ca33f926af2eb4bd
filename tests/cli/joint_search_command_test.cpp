// `orthorank select-layers --joint` on a tiny model: plans written and run, a search continued,
// failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

TinyModel six_layers() {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 6;
    return tiny;
}

class JointSearchCommand : public CommandTest {
 protected:
    JointSearchCommand() : CommandTest(six_layers()) {
        std::string text;
        for (int i = 0; i < 12; ++i) {
            text += "the quick brown fox jumps over the lazy dog number " + std::to_string(i * i) +
                    " and goes on\n";
        }
        write_bytes(text_, text);
    }

    // The command with short windows; `more` comes behind.
    std::vector<std::string> joint(const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {"select-layers", "--joint", "--calibration", text_,
                                              "--seqlen",      "48",      "--windows",     "3"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }

    // Times of so small a model may be anything: a plan comes out, or a line that says why none
    // can.
    static void expect_too_fast(const ProgramResult &result) {
        EXPECT_THAT(result.err, testing::AnyOf(HasSubstr("no choice makes a layer faster"),
                                               HasSubstr("the target is out of reach")));
    }

    std::string text_ = dir_.file("text.txt");
    std::string out_ = dir_.file("found.json");
};

TEST_F(JointSearchCommand, PlanReachesTheSparsityAndRuns) {
    const ProgramResult found = run(joint({"--sparsity", "25%", "--correct", "8", "--policy",
                                           "probe", "--kl-windows", "1", "-o", out_}));
    ASSERT_EQ(found.exit_code, 0) << found.err;
    EXPECT_THAT(found.out, AllOf(HasSubstr("target: 25.0% of the layers saved"),
                                 HasSubstr("layer evaluations"), HasSubstr("moves measured")));
    EXPECT_FALSE(std::filesystem::exists(out_ + ".partial"));
    const json plan = json::parse(read_bytes(out_));
    const json &provenance = plan.at("provenance");
    EXPECT_EQ(provenance.at("method"), "joint");
    EXPECT_EQ(provenance.at("policy"), "probe");
    EXPECT_EQ(provenance.at("rank"), 8);
    EXPECT_GE(provenance.at("effective_sparsity").get<double>(), 0.25 - 1e-9);
    EXPECT_LE(provenance.at("effective_sparsity").get<double>(), 0.25 + 0.5 / 6);
    EXPECT_FALSE(provenance.at("rounds").empty());
    for (const json &layer : plan.at("layers")) {
        EXPECT_GE(layer.at("index").get<int>(), 1);
        EXPECT_LE(layer.at("index").get<int>(), 4);
    }
    const json used = run_json({"perplexity", "-f", text_, "--ctx", "48", "--plan", out_});
    EXPECT_GT(used.at("results").at(1).at("ppl").get<double>(), 0.0);
}

TEST_F(JointSearchCommand, SmallerPlansAreTheRoundsBefore) {
    ASSERT_EQ(run(joint({"--sparsity", "40%", "--correct", "8", "--policy", "probe", "--kl-windows",
                         "1", "-o", out_}))
                  .exit_code,
              0);
    const json whole = json::parse(read_bytes(out_));
    const json rounds = whole.at("provenance").at("rounds");
    ASSERT_GE(rounds.size(), 2u);
    const double first = rounds.at(0).at("saved");
    const std::string smaller = dir_.file("smaller.json");
    const std::vector<std::string> derive = {"select-layers", "--from", out_, "-o", smaller};
    const auto derived = [&](const std::string &option, const std::string &value) {
        std::vector<std::string> arguments = derive;
        arguments.insert(arguments.end(), {option, value});
        return arguments;
    };
    const ProgramResult cut = run(derived("--sparsity", std::to_string(0.99 * first)));
    ASSERT_EQ(cut.exit_code, 0) << cut.err;
    const json plan = json::parse(read_bytes(smaller));
    ASSERT_EQ(plan.at("layers").size(), 1u);
    EXPECT_EQ(plan.at("layers").at(0).at("index"), rounds.at(0).at("layer"));
    EXPECT_FALSE(plan.contains("tensors"));
    EXPECT_FALSE(plan.at("provenance").contains("correction"));
    EXPECT_NEAR(plan.at("provenance").at("effective_sparsity").get<double>(), first, 1e-6);
    ASSERT_EQ(run(derived("--sparsity", "40%")).exit_code, 0);
    const json same = json::parse(read_bytes(smaller));
    ASSERT_EQ(same.at("layers").size(), whole.at("layers").size());
    for (size_t i = 0; i < same.at("layers").size(); ++i) {
        EXPECT_EQ(same.at("layers").at(i).at("index"), whole.at("layers").at(i).at("index"));
        EXPECT_EQ(same.at("layers").at(i).value("ratio", -1.0),
                  whole.at("layers").at(i).value("ratio", -1.0));
    }
    for (const auto &[key, value] :
         {std::pair("choice", json("a third")), std::pair("layer", json(-1))}) {
        json damaged = whole;
        damaged["provenance"]["rounds"][0][key] = value;
        write_bytes(out_, damaged.dump());
        expect_failure(1, "found.json: its provenance records no rounds",
                       derived("--sparsity", "10%"));
    }
    json unknown = whole;
    unknown["provenance"]["policy"] = "best";
    write_bytes(out_, unknown.dump());
    expect_failure(1, "found.json: its provenance records no rounds", derived("--sparsity", "10%"));
    write_bytes(out_, whole.dump());
    expect_failure(2, "its search saved", derived("--sparsity", "95%"));
    expect_failure(2, "say --sparsity, not --layers", derived("--layers", "1"));
}

// The prompt is timed, not the continuation that is computed densely behind it.
TEST_F(JointSearchCommand, TargetTimeIsOfThePrompt) {
    const ProgramResult found =
        run(joint({"--target-time", "0.99", "--correct", "0", "--choices", "0", "--kl-windows", "1",
                   "--objective", "continuation", "--continuation", "16", "--keep-last", "4,30",
                   "-o", out_}));
    EXPECT_THAT(found.out, HasSubstr("prefill of 32 tokens: "));
    if (found.exit_code != 0) {
        expect_too_fast(found);
        return;
    }
    const json provenance = json::parse(read_bytes(out_)).at("provenance");
    EXPECT_EQ(provenance.at("timed_rows"), 32);
    const bool is_left_out = found.err.find("keep_last 30 is left out") != std::string::npos;
    EXPECT_EQ(provenance.contains("keep_last_choices"), !is_left_out);
}

TEST_F(JointSearchCommand, TargetTimeTakesMeasuredTimes) {
    const ProgramResult found = run(joint({"--target-time", "0.95", "--correct", "0", "--choices",
                                           "0.2,skip", "--kl-windows", "1", "-o", out_}));
    if (found.exit_code != 0) {
        expect_too_fast(found);
        return;
    }
    EXPECT_THAT(found.out, HasSubstr("of the prefill's time saved"));
    const json provenance = json::parse(read_bytes(out_)).at("provenance");
    EXPECT_NEAR(provenance.at("saved_time").get<double>(), 0.05, 1e-12);
    EXPECT_GE(provenance.at("saved").get<double>(), 0.05 - 1e-9);
    EXPECT_FALSE(provenance.at("rounds").empty());
}

TEST_F(JointSearchCommand, Failures) {
    const std::vector<std::string> good = {"--sparsity", "20%", "--correct", "4", "-o", out_};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), good.begin(), good.end());
        return joint(more);
    };
    expect_failure(2, "needs a target", joint({"--correct", "4", "-o", out_}));
    expect_failure(2, "needs a target", with({"--target-time", "0.9"}));
    expect_failure(2, "no part of the dense model's time",
                   joint({"--target-time", "1.5", "--correct", "4", "-o", out_}));
    expect_failure(2, "--correct RANK", joint({"--sparsity", "20%", "-o", out_}));
    expect_failure(2, "decides what becomes of which layer", with({"--convert", "skip"}));
    expect_failure(2, "is no choice for a layer", with({"--choices", "0.5,dense"}));
    expect_failure(2, "names skip twice", with({"--choices", "skip,0.5,skip"}));
    expect_failure(2, "fewer --kl-windows", with({"--kl-windows", "3"}));
    expect_failure(2, "out of reach", joint({"--sparsity", "90%", "--correct", "4", "-o", out_}));
    expect_failure(1, "--memory is 0 MiB", with({"--memory", "0"}));
    const json other = {{"format", "orthorank-partial"}, {"version", 1}, {"key", {{"a", 1}}}};
    write_bytes(out_ + ".partial", other.dump());
    expect_failure(2, "--restart", with({}));
    EXPECT_FALSE(std::filesystem::exists(out_));
}

}  // namespace
}  // namespace orthorank::test
