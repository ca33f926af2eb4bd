// Version 3 of plan files: where a plan applies, the rows that it keeps, rows taken from an earlier
// layer, and what the plan was measured to cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/strict_json.h"
#include "select/plan.h"
#include "select/plan_text.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

Plan read(const std::string &text) {
    return plan_from_json(parse_json(text, "x"), "x");
}

std::string refusal(const std::string &text) {
    try {
        read(text);
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::format);
        return error.what();
    }
    return "accepted";
}

// A plan for 6 layers with these keys beside the required ones.
std::string with(const std::string &keys, int version = 3) {
    return R"({"format": "orthorank-plan", "version": )" + std::to_string(version) +
           R"(, "model": {"n_layers": 6}, )" + keys + "}";
}

constexpr const char *k_layers =
    R"("layers": [{"index": 4, "action": "select", "policy": "inherit"},
                  {"index": 1, "action": "select", "ratio": 0.25, "policy": "norm-up"},
                  {"index": 2, "action": "skip"},
                  {"index": 3, "action": "select", "policy": "inherit"}])";

TEST(PromptPlan, KeysOfVersion3) {
    const Plan plan = read(with(
        R"("apply": "prefill", "keep_last": 64, "measured": [{"text": "w", "windows": 32,
           "n_ctx": 2048, "continuation": 256, "ratio": 1.03, "se": 0.004, "weights": "BF16",
           "date": "2026-11-28", "version": "0.1.0"}], )" +
        std::string(k_layers)));
    EXPECT_EQ(plan.apply, Apply::prefill);
    EXPECT_EQ(plan.keep_last, 64);
    const PlanLoss loss{"w", 32, 2048, 256, 1.03, 0.004, "BF16", "2026-11-28", "0.1.0"};
    EXPECT_THAT(plan.losses, testing::ElementsAre(loss));
    EXPECT_EQ(plan.inherited_from(3), 1);
    EXPECT_EQ(plan.inherited_from(4), 3);
    EXPECT_EQ(plan.inherited_from(1), -1);
    EXPECT_EQ(plan.layers[3].ratio, 0.25) << "of the layer whose rows it takes";
    EXPECT_EQ(plan.layers[4].ratio, 0.25);
    EXPECT_DOUBLE_EQ(plan.effective_sparsity(), (1 + 3 * 0.75) / 6) << "keep_last is not in it";
    const Json json = plan_to_json(plan);
    EXPECT_EQ(json["version"], 3);
    EXPECT_FALSE(json["layers"][3].contains("ratio"));
    const Plan again = read(plan_text(json));
    EXPECT_EQ(again.layers, plan.layers);
    EXPECT_EQ(again.losses, plan.losses);
    EXPECT_EQ(plan_to_json(again), json);
}

TEST(PromptPlan, VersionIsTheOldestThatSaysIt) {
    const auto version = [](const Plan &plan) { return plan_to_json(plan)["version"].get<int>(); };
    Plan plan = dense_plan(3);
    plan.layers[1] = {Action::select, 0.5, Policy{}};
    EXPECT_EQ(version(plan), 1);
    Plan changed = plan;
    changed.apply = Apply::prefill;
    EXPECT_EQ(version(changed), 3);
    changed = plan;
    changed.keep_last = 1;
    EXPECT_EQ(version(changed), 3);
    changed = plan;
    changed.losses.push_back({"w", 2, 16, 0, 1.0, 0.0, "", "", ""});
    EXPECT_EQ(version(changed), 3);
    changed = plan;
    changed.layers[2] = {Action::select, 0.5, policy_from_name("inherit")};
    EXPECT_EQ(version(changed), 3);
    EXPECT_EQ(read(with(R"("layers": [])")).apply, Apply::both);
}

TEST(PromptPlan, PoliciesThatCameWithVersion3) {
    const Plan plan = read(with(R"("layers": [
        {"index": 1, "action": "select", "ratio": 0.5, "policy": "query"},
        {"index": 2, "action": "select", "ratio": 0.5, "policy": "query", "window": 5},
        {"index": 4, "action": "select", "ratio": 0.5, "policy": "attention-output"}])"));
    EXPECT_EQ(plan.layers[1].policy, policy_from_name("query"));
    EXPECT_EQ(plan.layers[1].policy.window, 32);
    EXPECT_EQ(plan.layers[2].policy.window, 5);
    EXPECT_EQ(plan.layers[4].policy, policy_from_name("attention-output"));
    const Json json = plan_to_json(plan);
    EXPECT_EQ(json["version"], 3);
    EXPECT_EQ(json["layers"][0]["window"], 32) << "written even where it is the default";
    EXPECT_FALSE(json["layers"][2].contains("window"));
    EXPECT_EQ(read(plan_text(json)).layers, plan.layers);
    Plan output = dense_plan(2);
    output.layers[1] = {Action::select, 0.5, policy_from_name("attention-output")};
    EXPECT_EQ(plan_to_json(output)["version"], 3);
}

TEST(PromptPlan, PoliciesRefused) {
    const auto of_layer = [](const std::string &keys, int version = 3) {
        std::string layers = R"("layers": [{"index": 4, "action": "select", "ratio": 0.5, )";
        layers += keys;
        layers += "}]";
        return refusal(with(layers, version));
    };
    EXPECT_EQ(of_layer(R"("policy": "query")", 2),
              "x: layer 4: policy \"query\" needs \"version\" 3, found 2");
    EXPECT_EQ(of_layer(R"("policy": "attention-output", "correction": {"rank": 1})", 1),
              "x: layer 4: policy \"attention-output\" needs \"version\" 3, found 1");
    EXPECT_EQ(of_layer(R"("policy": "query", "window": 0)"),
              "x: layer 4: \"window\" must be 1 to 1073741824, found 0");
    EXPECT_EQ(of_layer(R"("policy": "query", "window": 1.5)"),
              "x: layer 4: \"window\" must be a whole number, found 1.5");
    EXPECT_EQ(of_layer(R"("policy": "attention-up", "window": 3)"),
              "x: layer 4: \"window\" goes only with policy \"query\", found \"attention-up\"");
    EXPECT_EQ(refusal(with(R"("layers": [{"index": 4, "action": "skip", "window": 3}])")),
              "x: layer 4: \"window\" goes only with action \"select\"");
}

TEST(PromptPlan, ResultsOfAnotherApplicationAreOthers) {
    Plan plan = dense_plan(3);
    plan.layers[1] = {Action::select, 0.5, Policy{}};
    Plan prompt = plan;
    prompt.apply = Apply::prefill;
    Plan kept = prompt;
    kept.keep_last = 8;
    EXPECT_NE(plan_identity(plan), plan_identity(prompt));
    EXPECT_NE(plan_identity(kept), plan_identity(prompt));
    Plan dense = dense_plan(3);  // applies nowhere, whatever it says
    dense.apply = Apply::prefill;
    dense.keep_last = 8;
    EXPECT_EQ(plan_identity(dense), plan_identity(dense_plan(3)));
    Plan measured = plan;
    measured.losses.push_back({"w", 2, 16, 0, 1.0, 0.0, "", "", ""});
    EXPECT_EQ(plan_identity(measured), plan_identity(plan));
}

TEST(PromptPlan, PhasesWhereItDoesNotApplyAreDense) {
    Plan plan = dense_plan(3);
    plan.layers[0].action = Action::skip;
    plan.layers[1] = {Action::select, 0.5, Policy{}};
    EXPECT_EQ(plan_in_decode(plan).layers, plan.layers);
    plan.apply = Apply::prefill;
    EXPECT_EQ(plan_in_prefill(plan).layers, plan.layers);
    EXPECT_EQ(plan_in_decode(plan).layers[1], LayerPlan{});
    EXPECT_EQ(plan_in_decode(plan).layers[0].action, Action::skip) << "removed in both";
    plan.apply = Apply::decode;
    EXPECT_EQ(plan_in_decode(plan).layers, plan.layers);
    EXPECT_EQ(plan_in_prefill(plan).layers[1], LayerPlan{});
}

TEST(PromptPlan, RowsOfTheFirstSelectingLayerInAllLaterOnes) {
    EXPECT_TRUE(with_inherited_rows(dense_plan(3)).is_dense());
    Plan plan = dense_plan(5);
    plan.layers[1] = {Action::select, 0.25, policy_from_name("norm-up")};
    plan.layers[2].action = Action::skip;
    plan.layers[3] = {Action::select, 0.5, policy_from_name("probe")};
    plan.layers[3].probe = std::make_shared<const Probe>(Probe{{1.0f}});
    plan.layers[3].correction = std::make_shared<const Correction>();
    const Plan inherited = with_inherited_rows(plan);
    EXPECT_EQ(inherited.layers[1], plan.layers[1]);
    EXPECT_EQ(inherited.layers[2], plan.layers[2]);
    EXPECT_EQ(inherited.layers[3].policy, policy_from_name("inherit"));
    EXPECT_EQ(inherited.layers[3].ratio, 0.25);
    EXPECT_EQ(inherited.layers[3].probe, nullptr);
    EXPECT_EQ(inherited.layers[3].correction, plan.layers[3].correction);
    EXPECT_EQ(with_inherited_rows(inherited).layers, inherited.layers);
}

// What reading refuses is not written.
TEST(PromptPlan, KeptRowsOfADecodedPromptAreNotWritten) {
    const test::TempDir dir;
    Plan plan = dense_plan(3);
    plan.apply = Apply::decode;
    write_plan(plan, dir.file("p.json"));
    plan.keep_last = 4;
    test::expect_error(ErrorKind::usage,
                       "q.json: \"keep_last\" does nothing with \"apply\" \"decode\"",
                       [&] { write_plan(plan, dir.file("q.json")); });
    EXPECT_FALSE(std::filesystem::exists(dir.file("q.json")));
}

TEST(PromptPlan, Refused) {
    const std::string none = R"("layers": [])";
    EXPECT_EQ(refusal(with(R"("apply": "prompt", )" + none)),
              "x: unknown \"apply\" \"prompt\" (known: prefill, decode, both)");
    EXPECT_EQ(refusal(with(R"("apply": 1, )" + none)), "x: \"apply\" must be a string, found 1");
    EXPECT_EQ(refusal(with(R"("keep_last": -1, )" + none)),
              "x: \"keep_last\" must be 0 to 1073741824, found -1");
    EXPECT_EQ(
        refusal(with(R"("apply": "decode", "keep_last": 4, )" + none)),
        "x: \"keep_last\" does nothing with \"apply\" \"decode\": it keeps rows of the prompt");
    EXPECT_EQ(refusal(with(R"("keep_last": 4, )" + none, 2)),
              "x: unknown key \"keep_last\" (known: format, version, tensors, tensors_hash, model, "
              "layers, provenance)");
    EXPECT_EQ(refusal(with(k_layers, 2)),
              "x: layer 4: policy \"inherit\" needs \"version\" 3, found 2");
    EXPECT_EQ(refusal(with(R"("layers": [{"index": 1, "action": "skip"},
                              {"index": 2, "action": "select", "policy": "inherit"}])")),
              "x: layer 2: policy \"inherit\" takes the rows of an earlier selecting layer, and "
              "there is none");
    EXPECT_EQ(refusal(with(R"("layers": [
                  {"index": 2, "action": "select", "policy": "inherit", "ratio": 0.5}])")),
              "x: layer 2: \"ratio\" does not go with policy \"inherit\": it is that of the layer "
              "before");
    const auto of_loss = [&](const std::string &loss) {
        return refusal(with(R"("measured": [)" + loss + "], " + none));
    };
    EXPECT_EQ(of_loss("1"), "x: measured[0]: must be an object, found 1");
    EXPECT_EQ(of_loss(R"({"text": "w", "windows": 0})"),
              "x: measured[0]: \"windows\" must be 1 to 2147483647, found 0");
    EXPECT_EQ(of_loss(R"({"text": "w", "windows": 1, "n_ctx": 16, "continuation": 16})"),
              "x: measured[0]: \"continuation\" must be 0 to 15, found 16");
    for (const std::string ratio : {"\"1\"", "0", "-1"}) {
        EXPECT_EQ(
            of_loss(R"({"text": "w", "windows": 1, "n_ctx": 16, "continuation": 1, "ratio": )" +
                    ratio + "}"),
            "x: measured[0]: \"ratio\" must be a number above 0, found " + ratio);
    }
    EXPECT_EQ(of_loss(R"({"loss": 1})"),
              "x: measured[0]: unknown key \"loss\" (known: text, windows, n_ctx, continuation, "
              "ratio, se, weights, date, version)");
}

}  // namespace
}  // namespace orthorank
