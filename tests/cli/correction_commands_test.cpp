// Plans with corrections and probes through the commands: run from files and from inside a model,
// described, refused.
#include <gmock/gmock.h>

#include <filesystem>

#include "engine/plan_files.h"
#include "support/command_fixture.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CorrectionCommands : public CommandTest {
 protected:
    CorrectionCommands() {
        std::string text;
        for (int i = 0; i < 40; ++i) {
            text += "a line of text ";
        }
        write_bytes(text_, text);
        Plan plan = select_plan(3, {1}, 0.4, "probe");
        plan.layers[2].action = Action::skip;
        plan.provenance = {{"sparsity", 0.5}};
        write_plan_files(completed(plan, k_width, 4), corrected_);
    }
    double perplexity(const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {"perplexity", "-f", text_,
                                              "--ctx",      "64", "--no-dense"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_json(arguments).at("results").at(0).at("ppl").get<double>();
    }

    static constexpr int k_width = 64;
    const std::string text_ = dir_.file("text.txt");
    const std::string corrected_ = dir_.file("corrected.json");
};

TEST_F(CorrectionCommands, PlanInAModelIsThePlanInFiles) {
    const double expected = perplexity({"--plan", corrected_});
    EXPECT_NE(perplexity({"--plan", plan_}), expected);
    EXPECT_NEAR(perplexity({"--plan", corrected_, "--correction-type", "f32"}), expected,
                1e-3 * expected);
    const std::string embedded = dir_.file("embedded.gguf");
    const ProgramResult exported = run({"export", "--plan", corrected_, "--embed", "-o", embedded});
    ASSERT_EQ(exported.exit_code, 0) << exported.err;
    model_ = embedded;
    EXPECT_EQ(perplexity({"--sparsity", "50%"}), expected);
    EXPECT_THAT(run({"info"}).out, HasSubstr("layer   2  skip, correction of rank 4"));
}

TEST_F(CorrectionCommands, InfoSaysRanksAndBytes) {
    const std::string text = run({"info", "--plan", corrected_}).out;
    EXPECT_THAT(text, HasSubstr("layer   1  select 0.4 probe, correction of rank 4"));
    EXPECT_THAT(text, HasSubstr("layer   2  skip, correction of rank 4"));
    // Two layers of 2 x 4 x 64 in F16 and 64 in F32, and the probe.
    EXPECT_THAT(text, HasSubstr("corrections and probes: 2.8 KiB"));
    const json plan = run_json({"info", "--plan", corrected_})["results"][0]["plans"][0];
    EXPECT_EQ(plan["number_bytes"], 2 * (2 * 4 * 64 * 2 + 64 * 4) + 64 * 4);
    EXPECT_EQ(plan["layers"][0]["correction"]["rank"], 4);
    EXPECT_EQ(plan["layers"][0]["policy"], "probe");
}

// export -o onto the plan's own files left a plan without numbers, or none.
TEST_F(CorrectionCommands, ExportKeepsWhatItReads) {
    const std::string numbers = plan_tensors_path(corrected_);
    const std::string plan_text = read_bytes(corrected_);
    const std::string numbers_text = read_bytes(numbers);
    const auto exporting = [&](const std::string &out) {
        return std::vector<std::string>{"export", "--plan", corrected_, "--embed", "-o", out};
    };
    expect_failure(2, "is a GGUF file, which is not replaced", exporting(numbers));
    expect_failure(2, "what is written is a GGUF file", exporting(dir_.file("other.json")));
    expect_failure(2, "are the same file", exporting(corrected_));
    expect_failure(2, "are the same file", exporting(model_));
    EXPECT_EQ(read_bytes(corrected_), plan_text);
    EXPECT_EQ(read_bytes(numbers), numbers_text);
}

TEST_F(CorrectionCommands, WhatIsRefused) {
    expect_failure(2, "unknown correction type 'q8' (known: f16, f32)",
                   {"info", "--correction-type", "q8"});
    const std::string removing = dir_.file("removing.json");
    Plan plan = dense_plan(3);
    plan.layers[1].action = Action::skip;
    write_plan_files(completed(plan, k_width, 2), removing);
    expect_failure(2, "layer 1 is removed with a correction",
                   {"export", "--plan", removing, "-o", dir_.file("smaller.gguf")});
    EXPECT_FALSE(std::filesystem::exists(dir_.file("smaller.gguf")));
    write_plan_files(completed(plan, 32, 2), removing);
    expect_failure(
        1, "removing.json, layer 1: the plan's correction or probe is for a model of width 32",
        {"generate", "-p", "x", "--plan", removing});
    std::filesystem::remove(dir_.file("removing.gguf"));
    expect_failure(1, "removing.gguf, which cannot be read",
                   {"generate", "-p", "x", "--plan", removing});
}

}  // namespace
}  // namespace orthorank::test
