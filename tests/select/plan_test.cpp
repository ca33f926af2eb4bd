#include "select/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/output_file.h"
#include "base/text_file.h"
#include "select/plan_file_fixture.h"

namespace orthorank {
namespace {

using testing::ElementsAre;

const char *const k_issue_example = R"({"format": "orthorank-plan", "version": 1,
 "model": {"name": "SmolLM2-135M-Instruct", "n_layers": 30, "fingerprint": "optional"},
 "layers": [{"index": 13, "action": "select", "ratio": 0.333, "policy": "orthogonal"},
            {"index": 26, "action": "skip"}]}
)";

TEST_F(PlanFile, ExampleIsRead) {
    write_file_atomically(path("example.json"), k_issue_example);
    const Plan plan = read_plan(path("example.json"));
    EXPECT_EQ(plan.name, "example.json");
    EXPECT_EQ(plan.model_name, "SmolLM2-135M-Instruct");
    EXPECT_EQ(plan.fingerprint, "optional");
    EXPECT_EQ(plan.n_layers(), 30);
    EXPECT_FALSE(plan.is_dense());
    EXPECT_THAT(plan.layers_with(Action::select), ElementsAre(13));
    EXPECT_THAT(plan.layers_with(Action::skip), ElementsAre(26));
    EXPECT_EQ(plan.layers_with(Action::dense).size(), 28u);
    EXPECT_EQ(plan.layers[13].ratio, 0.333);
    EXPECT_EQ(plan.layers[13].policy, Policy{});
    EXPECT_TRUE(plan.provenance.is_null());
    EXPECT_DOUBLE_EQ(plan.effective_sparsity(), (0.667 + 1.0) / 30.0);
}

TEST_F(PlanFile, WrittenAsTheExample) {
    write_file_atomically(path("a.json"), k_issue_example);
    write_plan(read_plan(path("a.json")), path("b.json"));
    EXPECT_EQ(read_text_file(path("b.json")),
              R"({
  "format": "orthorank-plan",
  "version": 1,
  "model": {"name":"SmolLM2-135M-Instruct","n_layers":30,"fingerprint":"optional"},
  "layers": [
    {"index":13,"action":"select","ratio":0.333,"policy":"orthogonal"},
    {"index":26,"action":"skip"}
  ]
}
)");
}

TEST_F(PlanFile, RoundTrip) {
    Plan plan = dense_plan(14);
    plan.model_name = "a \"name\"";
    plan.fingerprint = "0123abcd";
    plan.provenance = nlohmann::ordered_json::parse(
        R"({"z": [1, {"deep": null}], "a": "later keys stay later", "losses": [2.5, 1e-9]})");
    int il = 0;
    for (std::string_view name : policy_names()) {
        plan.layers[il++] = {Action::select, 1.0 / (3 + il), policy_from_name(name)};
    }
    plan.layers[4].policy.seed = UINT64_MAX;  // random
    plan.layers[11] = LayerPlan{.action = Action::skip, .ratio = 1.0, .policy = {}};
    plan.layers[12] = {Action::select, 0.0, Policy{}};
    write_plan(plan, path("p.json"));
    const Plan again = read_plan(path("p.json"));
    EXPECT_EQ(again.layers, plan.layers);
    EXPECT_EQ(again.model_name, plan.model_name);
    EXPECT_EQ(again.fingerprint, plan.fingerprint);
    EXPECT_EQ(again.provenance.dump(), plan.provenance.dump());
    EXPECT_EQ(again.name, "p.json");
}

TEST_F(PlanFile, DensePlanRoundTrip) {
    write_plan(dense_plan(30), path("dense.json"));
    const Plan plan = read_plan(path("dense.json"));
    EXPECT_TRUE(plan.is_dense());
    EXPECT_EQ(plan.n_layers(), 30);
    EXPECT_EQ(plan.effective_sparsity(), 0.0);
}

TEST_F(PlanFile, BrokenUtf8InANameIsWrittenAsReplacement) {
    Plan plan = dense_plan(1);
    plan.model_name = "caf\xe9";
    write_plan(plan, path("p.json"));
    EXPECT_EQ(read_plan(path("p.json")).model_name, "caf\xef\xbf\xbd");
}

TEST_F(PlanFile, LayersInAnyOrderAndExplicitDense) {
    write_file_atomically(path("x.json"), with_layers(R"({"index": 31, "action": "skip"},
                                         {"index": 2, "action": "dense"},
                                         {"index": 0, "action": "select", "ratio": 1})"));
    const Plan plan = read_plan(path("x.json"));
    EXPECT_THAT(plan.layers_with(Action::skip), ElementsAre(31));
    EXPECT_THAT(plan.layers_with(Action::select), ElementsAre(0));
    EXPECT_EQ(plan.layers[0].ratio, 1.0);
}

TEST_F(PlanFile, SeedOfRandomDefaultsToZero) {
    write_file_atomically(
        path("x.json"),
        with_layers(R"({"index": 1, "action": "select", "ratio": 0.5, "policy": "random"},
                       {"index": 2, "action": "select", "ratio": 0.5, "policy": "random",
                        "seed": 18446744073709551615})"));
    const Plan plan = read_plan(path("x.json"));
    EXPECT_EQ(plan.layers[1].policy.seed, 0u);
    EXPECT_EQ(plan.layers[2].policy.seed, UINT64_MAX);
}

TEST(Plan, EffectiveSparsity) {
    Plan plan = dense_plan(40);
    for (int il = 10; il < 22; ++il) {
        plan.layers[il] = {Action::select, 0.333, Policy{}};
    }
    EXPECT_NEAR(plan.effective_sparsity(), 0.2001, 1e-12);  // 12 / 40 * 0.667
    plan.layers[30].action = Action::skip;
    EXPECT_NEAR(plan.effective_sparsity(), 0.2251, 1e-12);
    EXPECT_EQ(dense_plan(0).effective_sparsity(), 0.0);
}

TEST(Plan, EffectiveSparsityOfTheSpecificationsLayerCounts) {  // layer-selection.md section 5
    const auto percent = [](int n_layers, int n_select) {
        Plan plan = dense_plan(n_layers);
        for (int il = 0; il < n_select; ++il) {
            plan.layers[il] = {Action::select, 0.333, Policy{}};
        }
        return fmt::format("{:.1f}", 100.0 * plan.effective_sparsity());
    };
    EXPECT_EQ(percent(30, 5), "11.1");
    EXPECT_EQ(percent(30, 9), "20.0");
    EXPECT_EQ(percent(32, 5), "10.4");
    EXPECT_EQ(percent(32, 10), "20.8");
    EXPECT_EQ(percent(40, 6), "10.0");
    EXPECT_EQ(percent(80, 24), "20.0");
}

class PlanFits : public testing::Test {
 protected:
    static constexpr int k_width = 64;
    static std::string refusal(const Plan &plan, int n_layers, const std::string &fingerprint,
                               const std::string &model_name) {
        try {
            check_plan_fits(plan, n_layers, k_width, fingerprint, model_name);
        } catch (const Error &error) {
            EXPECT_EQ(error.kind(), ErrorKind::format);
            return error.what();
        }
        return "fits";
    }
    static Plan llama_plan() {
        Plan plan = dense_plan(32);
        plan.name = "llama.json";
        plan.model_name = "Llama";
        return plan;
    }
};

TEST_F(PlanFits, LayerCount) {
    EXPECT_EQ(refusal(llama_plan(), 32, "", "Other"), "fits");
    EXPECT_EQ(refusal(llama_plan(), 30, "", "SmolLM2"),
              "llama.json: plan is for a model of 32 layers (\"Llama\"), this model has 30 "
              "(\"SmolLM2\")");
    EXPECT_EQ(refusal(dense_plan(4), 2, "", ""),
              "dense: plan is for a model of 4 layers, this model has 2");
}

TEST_F(PlanFits, WidthOfNumbers) {
    Plan plan = llama_plan();
    plan.model_name = "";
    plan.layers[3] = {Action::select, 0.5, Policy{}};
    const auto with_width = [&](int n_embd) {
        Correction correction;
        correction.n_embd = n_embd;
        plan.layers[3].correction = std::make_shared<const Correction>(correction);
        return refusal(plan, 32, "", "Llama");
    };
    EXPECT_EQ(with_width(k_width), "fits");
    EXPECT_EQ(with_width(96),
              "llama.json, layer 3: the plan's correction or probe is for a model of width 96, "
              "this model (\"Llama\") has 64");
    plan.layers[3].correction = nullptr;
    plan.layers[3].probe = std::make_shared<const Probe>(Probe{std::vector<float>(96)});
    EXPECT_THAT(refusal(plan, 32, "", ""), testing::HasSubstr("width 96"));
}

TEST_F(PlanFits, Fingerprint) {
    Plan plan = llama_plan();
    EXPECT_EQ(refusal(plan, 32, "abc", "Llama"), "fits");
    plan.fingerprint = "abc";
    EXPECT_EQ(refusal(plan, 32, "abc", "Llama"), "fits");
    EXPECT_EQ(refusal(plan, 32, "", "Llama"), "fits");
    EXPECT_EQ(
        refusal(plan, 32, "def", "Mistral"),
        "llama.json: plan is for the model with fingerprint \"abc\" (\"Llama\"), this model's "
        "is \"def\" (\"Mistral\") (remove \"fingerprint\" from the plan to use it all the "
        "same)");
}

}  // namespace
}  // namespace orthorank
