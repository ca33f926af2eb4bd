// `orthorank perplexity` on a tiny model: windows, plans, its table and JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

class PerplexityCommand : public TextCommandTest {};

TEST_F(PerplexityCommand, WindowsThatBeginWithBos) {
    const std::vector<std::string> usual = {"perplexity", "-f", text(), "--ctx", "16"};
    std::vector<std::string> each = usual;
    each.push_back("--bos-each-window");
    EXPECT_THAT(run(usual).out, HasSubstr("windows of 16 tokens; BOS begins only the first"));
    EXPECT_THAT(run(each).out, HasSubstr("windows of 16 tokens; BOS begins each\n"));
    const json first = run_json(usual)["results"][0];
    const json all = run_json(each)["results"][0];
    EXPECT_EQ(first["bos"], "first");
    EXPECT_EQ(all["bos"], "each");
    // The first window is the same either way.
    EXPECT_EQ(first["window_nlls"][0], all["window_nlls"][0]);
    EXPECT_NE(first["window_nlls"][1], all["window_nlls"][1]);
    expect_failure(2, "--bos-each-window does nothing",
                   {"perplexity", "--protocol", "paper", "--data", "x", "--bos-each-window"});
}

TEST_F(PerplexityCommand, PerplexityOfSeveralPlans) {
    const std::string file = dir_.file("out.json");
    const ProgramResult table = run({"perplexity", "-f", text(), "--ctx", "16", "--windows", "2",
                                     "--plan", plan_, "--json", file});
    EXPECT_EQ(table.exit_code, 0) << table.err;
    EXPECT_EQ(table.err, "") << "no progress bar without a terminal";
    EXPECT_THAT(table.out, AllOf(HasSubstr("2 windows of 16 tokens"), HasSubstr("dense"),
                                 HasSubstr("plan.json"), HasSubstr("ratio to dense")));
    const json results = json::parse(read_bytes(file))["results"];
    ASSERT_THAT(results, SizeIs(2));
    EXPECT_TRUE(results[0]["plan"].is_null());
    EXPECT_EQ(results[1]["plan"], "plan.json");
    for (const json &result : results) {
        EXPECT_EQ(result["n_windows"], 2);
        EXPECT_EQ(result["n_targets"], 30);
        EXPECT_NEAR(result["ppl"].get<double>(), std::exp(result["nll"].get<double>()), 1e-9);
        const auto nlls = result["window_nlls"].get<std::vector<double>>();
        ASSERT_THAT(nlls, SizeIs(2));
        EXPECT_NEAR(result["nll"].get<double>(), (nlls[0] + nlls[1]) / 2, 1e-9);
        // Of two values: half their distance; of exp by its derivative.
        EXPECT_NEAR(result["se"].get<double>(),
                    result["ppl"].get<double>() * std::abs(nlls[0] - nlls[1]) / 2, 1e-9);
        EXPECT_GT(result["se"].get<double>(), 0);
    }
    EXPECT_NEAR(results[1]["effective_sparsity"].get<double>(), 0.2, 1e-9);
    EXPECT_NEAR(results[1]["fraction_of_rows_computed"].get<double>(), 0.375, 1e-9);  // 6 of 16
}

TEST_F(PerplexityCommand, PerplexityWithoutDense) {
    write_bytes(dir_.file("a.jsonl"), "{\"body\": \"" + read_bytes(text()) + "\"}\n");
    const json results =
        run_json({"perplexity", "-f", dir_.file("a.jsonl"), text(), "--field", "body", "--no-dense",
                  "--plan", plan_, "--ctx", "16", "--windows", "1"})["results"];
    ASSERT_THAT(results, SizeIs(1));
    EXPECT_EQ(results[0]["n_windows"], 2) << "one of each file";
    EXPECT_TRUE(results[0]["ratio_to_dense"].is_null());
    EXPECT_NEAR(results[0]["se"].get<double>(), 0, 1e-9) << "the same text twice";
    EXPECT_TRUE(
        run_json({"perplexity", "-f", text(), "--ctx", "16", "--windows", "1"})["results"][0]["se"]
            .is_null())
        << "one window has no spread, and JSON has no NaN";
}

TEST_F(PerplexityCommand, PlansOfOneNameAreToldApart) {
    std::filesystem::create_directory(dir_.path() / "b");
    const std::string second = dir_.file("b/plan.json");
    write_bytes(second, plan_text(R"({"index": 1, "action": "skip"})"));
    const json results = run_json(
        {"perplexity", "-f", text(), "--ctx", "16", "--plan", plan_, "--plan", second})["results"];
    ASSERT_THAT(results, SizeIs(3));
    EXPECT_EQ(results[1]["plan"], plan_);
    EXPECT_EQ(results[2]["plan"], second);
}

TEST_F(PerplexityCommand, ZeroWindowsAreRefused) {
    expect_failure(1, "no window of 2048 tokens", {"perplexity", "-f", text()});
    write_bytes(dir_.file("empty.txt"), "");
    expect_failure(1, "no window", {"perplexity", "-f", dir_.file("empty.txt"), "--ctx", "8"});
    write_bytes(dir_.file("long.txt"), std::string(9000, 'x'));
    expect_failure(1, "the model has 2048",
                   {"perplexity", "-f", dir_.file("long.txt"), "--ctx", "4096"});
}

}  // namespace
}  // namespace orthorank::test
