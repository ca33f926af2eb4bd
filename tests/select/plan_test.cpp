#include "select/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/output_file.h"
#include "base/text_file.h"

namespace orthorank {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// A folder of this test's own, removed with it.
class PlanFile : public testing::Test {
 protected:
    void SetUp() override {
        const auto *info = testing::UnitTest::GetInstance()->current_test_info();
        folder_ = std::filesystem::path(testing::TempDir()) / ("plan_" + std::string(info->name()));
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directories(folder_);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string path(const std::string &name) const { return (folder_ / name).string(); }

    // The message with which this text is refused, without the path in front.
    std::string refusal(const std::string &text, ErrorKind kind = ErrorKind::format) const {
        const std::string file = path("x.json");
        write_file_atomically(file, text);
        return refusal_of_file(file, kind);
    }

    static std::string refusal_of_file(const std::string &file, ErrorKind kind) {
        try {
            read_plan(file);
        } catch (const Error &error) {
            EXPECT_EQ(error.kind(), kind) << error.what();
            EXPECT_THAT(error.what(), StartsWith(file + ": "));
            return std::string(error.what()).substr(file.size() + 2);
        }
        return "accepted";
    }

    // A plan for 32 layers with these entries in its list of layers.
    static std::string with_layers(const std::string &layers) {
        return R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 32},
                   "layers": [)" +
               layers + "]}";
    }

    std::string layer_refusal(const std::string &layers) const {
        return refusal(with_layers(layers));
    }

 private:
    std::filesystem::path folder_;
};

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
    Plan plan = dense_plan(12);
    plan.model_name = "a \"name\"";
    plan.fingerprint = "0123abcd";
    plan.provenance = nlohmann::ordered_json::parse(
        R"({"z": [1, {"deep": null}], "a": "later keys stay later", "losses": [2.5, 1e-9]})");
    int il = 0;
    for (std::string_view name : policy_names()) {
        plan.layers[il++] = {Action::select, 1.0 / (3 + il), policy_from_name(name)};
    }
    plan.layers[4].policy.seed = UINT64_MAX;  // random
    plan.layers[9] = LayerPlan{.action = Action::skip, .ratio = 1.0, .policy = {}};
    plan.layers[10] = {Action::select, 0.0, Policy{}};
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

TEST_F(PlanFile, MissingFileDirectoryAndTooLarge) {
    EXPECT_THAT(refusal_of_file(path("none.json"), ErrorKind::file),
                "cannot be read: No such file or directory");
    std::filesystem::create_directory(path("folder.json"));
    EXPECT_THAT(refusal_of_file(path("folder.json"), ErrorKind::file),
                "cannot be read: Is a directory");
    EXPECT_EQ(refusal(std::string((16u << 20) + 1, ' '), ErrorKind::file),
              "is larger than 16777216 bytes, the most that is read here");
    EXPECT_THAT(refusal_of_file("/dev/zero", ErrorKind::file), StartsWith("is larger than"));
}

TEST_F(PlanFile, NotJson) {
    EXPECT_THAT(refusal("{\"format\": \n  oops}"),
                StartsWith("not JSON: parse error at line 2, column 3:"));
    EXPECT_THAT(refusal(""), StartsWith("not JSON: parse error at line 1, column 1:"));
    EXPECT_THAT(refusal(with_layers("") + "}"), StartsWith("not JSON: parse error at line 2"));
    EXPECT_THAT(refusal(R"({"version": 1e999})"), StartsWith("not JSON: number overflow"));
    EXPECT_THAT(refusal("{\"a\": \"\xff\"}"), StartsWith("not JSON: parse error at line 1"));
    EXPECT_LT(refusal("\"" + std::string(100000, 'x')).size(), 300u);
}

TEST_F(PlanFile, RepeatedKeyAndDeepNesting) {
    EXPECT_EQ(layer_refusal(R"({"index": 1, "action": "skip", "index": 2})"),
              "key \"index\" occurs twice in one object");
    EXPECT_EQ(refusal(std::string(100000, '[')), "nested deeper than 64 levels");
}

TEST_F(PlanFile, WrongFormatOrVersion) {
    EXPECT_EQ(refusal("[1]"), "a plan must be an object, found a list");
    EXPECT_EQ(refusal("{}"), "\"format\" is missing");
    EXPECT_EQ(refusal(R"({"format": 1})"), "\"format\" must be a string, found 1");
    EXPECT_EQ(refusal(R"({"format": "safetensors"})"),
              "not a plan: \"format\" is \"safetensors\", expected \"orthorank-plan\"");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan"})"), "\"version\" is missing");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 4, "new": 1})"),
              "version 4 is newer than this program reads (3)");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 0})"),
              "there is no version 0 (this program reads 1 to 3)");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 1.0})"),
              "\"version\" must be a whole number, found 1.0");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 18446744073709551615})"),
              "\"version\" must be a whole number, found 18446744073709551615");
}

TEST_F(PlanFile, UnknownKeys) {
    const std::string head = R"({"format": "orthorank-plan", "version": 1, )";
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 2}, "layers": [], "layer": 1})"),
              "unknown key \"layer\" (known: format, version, model, layers, provenance)");
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 2, "layers": 2}, "layers": []})"),
              "model: unknown key \"layers\" (known: name, n_layers, fingerprint)");
    EXPECT_EQ(layer_refusal(R"({"index": 3, "action": "skip", "p": 0.3})"),
              "layer 3: unknown key \"p\" (known: index, action, ratio, policy, seed, correction)");
    EXPECT_EQ(refusal(head + "\"two\\nlines" + std::string(100, 'k') + "\": 1}"),
              "unknown key \"two\\nlines" + std::string(51, 'k') +
                  "\"... (known: format, version, model, layers, provenance)");
}

TEST_F(PlanFile, BadModel) {
    const std::string head = R"({"format": "orthorank-plan", "version": 1, "layers": [])";
    EXPECT_EQ(refusal(head + "}"), "\"model\" is missing");
    EXPECT_EQ(refusal(head + R"(, "model": "SmolLM2"})"),
              "\"model\" must be an object, found \"SmolLM2\"");
    EXPECT_EQ(refusal(head + R"(, "model": {}})"), "model: \"n_layers\" is missing");
    EXPECT_EQ(refusal(head + R"(, "model": {"n_layers": "30"}})"),
              "model: \"n_layers\" must be a whole number, found \"30\"");
    for (const char *bad : {"0", "-1", "65537"}) {
        EXPECT_EQ(refusal(head + R"(, "model": {"n_layers": )" + bad + "}}"),
                  std::string("model: \"n_layers\" must be 1 to 65536, found ") + bad);
    }
    EXPECT_EQ(refusal(head + R"(, "model": {"n_layers": 3, "name": 7}})"),
              "model: \"name\" must be a string, found 7");
    EXPECT_EQ(refusal(head + R"(, "model": {"n_layers": 3, "fingerprint": null}})"),
              "model: \"fingerprint\" must be a string, found null");
}

TEST_F(PlanFile, BadLayerList) {
    const std::string head = R"({"format": "orthorank-plan", "version": 1, )";
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 3}})"), "\"layers\" is missing");
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 3}, "layers": {}})"),
              "\"layers\" must be a list, found an object");
    EXPECT_EQ(layer_refusal("13"), "layers[0]: must be an object, found 13");
    EXPECT_EQ(layer_refusal(R"({"index": 1, "action": "skip"}, {"action": "skip"})"),
              "layers[1]: \"index\" is missing");
    EXPECT_EQ(layer_refusal(R"({"index": 1.5, "action": "skip"})"),
              "layers[0]: \"index\" must be a whole number, found 1.5");
    EXPECT_EQ(layer_refusal(R"({"index": 40, "action": "skip"})"),
              "layer 40: model has 32 layers (made for another model?)");
    EXPECT_EQ(layer_refusal(R"({"index": 32, "action": "skip"})"),
              "layer 32: model has 32 layers (made for another model?)");
    EXPECT_EQ(layer_refusal(R"({"index": -1, "action": "skip"})"),
              "layer -1: model has 32 layers (made for another model?)");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "skip"}, {"index": 4, "action": "skip"})"),
              "layer 4: listed twice");
}

TEST_F(PlanFile, BadAction) {
    EXPECT_EQ(layer_refusal(R"({"index": 4})"), "layer 4: \"action\" is missing");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": true})"),
              "layer 4: \"action\" must be a string, found true");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "remove"})"),
              "layer 4: unknown action \"remove\" (known: dense, skip, select)");
}

TEST_F(PlanFile, BadRatio) {
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "select"})"),
              "layer 4: \"ratio\" is missing");
    for (const char *bad : {"1.5", "-0.1", "2", "\"0.3\"", "null"}) {
        EXPECT_EQ(
            layer_refusal(std::string(R"({"index": 4, "action": "select", "ratio": )") + bad + "}"),
            std::string("layer 4: \"ratio\" must be a number from 0 to 1, found ") + bad);
    }
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "skip", "ratio": 0.3})"),
              "layer 4: \"ratio\" goes only with action \"select\"");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "dense", "ratio": 1})"),
              "layer 4: \"ratio\" goes only with action \"select\"");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "select", "ratio": NaN})").substr(0, 9),
              "not JSON:");
}

TEST(PlanJson, RatioNotANumber) {
    nlohmann::ordered_json json = plan_to_json(dense_plan(4));
    json["layers"].push_back(
        {{"index", 1}, {"action", "select"}, {"ratio", std::numeric_limits<double>::quiet_NaN()}});
    try {
        plan_from_json(json, "request");
        FAIL() << "accepted";
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::format);
        EXPECT_STREQ(error.what(),
                     "request: layer 1: \"ratio\" must be a number from 0 to 1, found NaN");
    }
}

TEST_F(PlanFile, BadPolicyOrSeed) {
    const std::string head = R"({"index": 4, "action": "select", "ratio": 0.3, )";
    EXPECT_EQ(layer_refusal(head + R"("policy": "best"})"),
              "layer 4: unknown policy \"best\" (known: orthogonal, orthogonal-reverse, "
              "orthogonal-raw, orthogonal-no-kv, random, norm-up, norm-down, attention-up, cosine, "
              "probe, inherit)");
    EXPECT_EQ(layer_refusal(head + R"("policy": 3})"),
              "layer 4: \"policy\" must be a string, found 3");
    EXPECT_EQ(layer_refusal(head + R"("seed": 3})"),
              "layer 4: \"seed\" goes only with policy \"random\", found \"orthogonal\"");
    for (const char *bad : {"-1", "1.5", "\"7\"", "18446744073709551616.0"}) {
        EXPECT_THAT(
            layer_refusal(head + R"("policy": "random", "seed": )" + bad + "}"),
            StartsWith("layer 4: \"seed\" must be a whole number from 0 to 2^64 - 1, found"));
    }
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "skip", "policy": "random"})"),
              "layer 4: \"policy\" goes only with action \"select\"");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "skip", "seed": 1})"),
              "layer 4: \"seed\" goes only with action \"select\"");
}

TEST_F(PlanFile, BadCorrectionOrProbe) {
    const std::string head = R"({"format": "orthorank-plan", "version": 2, "model": {"n_layers": 5},
                                 "layers": [{"index": 4, )";
    const auto refusal_of = [&](const std::string &layer) { return refusal(head + layer + "}]}"); };
    const std::string select = R"("action": "select", "ratio": 0.3, "correction": )";
    EXPECT_EQ(refusal_of(select + "64"), "layer 4: \"correction\" must be an object, found 64");
    EXPECT_EQ(refusal_of(select + "{}"), "layer 4: correction: \"rank\" is missing");
    EXPECT_EQ(refusal_of(select + R"({"rank": 8, "bias": 1})"),
              "layer 4: correction: unknown key \"bias\" (known: rank)");
    EXPECT_EQ(refusal_of(select + R"({"rank": -1})"),
              "layer 4: correction: \"rank\" must be 0 to 65536, found -1");
    EXPECT_EQ(refusal_of(R"("action": "dense", "correction": {"rank": 8})"),
              "layer 4: \"correction\" goes only with action \"select\" or \"skip\"");
    EXPECT_EQ(refusal_of(R"("action": "skip", "correction": {"rank": 8})"),
              "layer 4 has a correction, whose numbers cannot be given here: it takes a plan file");
    EXPECT_EQ(refusal_of(R"("action": "select", "ratio": 0.3, "policy": "probe")"),
              "layer 4 has a probe, whose numbers cannot be given here: it takes a plan file");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "skip", "correction": {"rank": 8}})"),
              "layer 4: a correction needs \"version\" 2, found 1");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "select", "ratio": 0.3, "policy": "probe"})"),
              "layer 4: policy \"probe\" needs \"version\" 2, found 1");
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 1, "tensors": "x.gguf",
                          "model": {"n_layers": 5}, "layers": []})"),
              "unknown key \"tensors\" (known: format, version, model, layers, provenance)");
    // Version 2 without either is a plan like any other.
    EXPECT_EQ(refusal_of(R"("action": "skip")"), "accepted");
}

TEST_F(PlanFile, BadProvenance) {
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 2},
                          "layers": [], "provenance": "greedy"})"),
              "\"provenance\" must be an object, found \"greedy\"");
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
    static std::string refusal(const Plan &plan, int n_layers, const std::string &fingerprint,
                               const std::string &model_name) {
        try {
            check_plan_fits(plan, n_layers, fingerprint, model_name);
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
