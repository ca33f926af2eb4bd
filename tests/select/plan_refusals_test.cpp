// Plan files that are none: each is one line that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>

#include "select/plan.h"
#include "select/plan_file_fixture.h"

namespace orthorank {
namespace {

using testing::StartsWith;

class PlanRefusals : public PlanFile {};

TEST_F(PlanRefusals, MissingFileDirectoryAndTooLarge) {
    EXPECT_THAT(refusal_of_file(path("none.json"), ErrorKind::file),
                "cannot be read: No such file or directory");
    std::filesystem::create_directory(path("folder.json"));
    EXPECT_THAT(refusal_of_file(path("folder.json"), ErrorKind::file),
                "cannot be read: Is a directory");
    EXPECT_EQ(refusal(std::string((16u << 20) + 1, ' '), ErrorKind::file),
              "is larger than 16777216 bytes, the most that is read here");
    EXPECT_THAT(refusal_of_file("/dev/zero", ErrorKind::file), StartsWith("is larger than"));
}

TEST_F(PlanRefusals, NotJson) {
    EXPECT_THAT(refusal("{\"format\": \n  oops}"),
                StartsWith("not JSON: parse error at line 2, column 3:"));
    EXPECT_THAT(refusal(""), StartsWith("not JSON: parse error at line 1, column 1:"));
    EXPECT_THAT(refusal(with_layers("") + "}"), StartsWith("not JSON: parse error at line 2"));
    EXPECT_THAT(refusal(R"({"version": 1e999})"), StartsWith("not JSON: number overflow"));
    EXPECT_THAT(refusal("{\"a\": \"\xff\"}"), StartsWith("not JSON: parse error at line 1"));
    EXPECT_LT(refusal("\"" + std::string(100000, 'x')).size(), 300u);
}

TEST_F(PlanRefusals, RepeatedKeyAndDeepNesting) {
    EXPECT_EQ(layer_refusal(R"({"index": 1, "action": "skip", "index": 2})"),
              "key \"index\" occurs twice in one object");
    EXPECT_EQ(refusal(std::string(100000, '[')), "nested deeper than 64 levels");
}

TEST_F(PlanRefusals, WrongFormatOrVersion) {
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

TEST_F(PlanRefusals, UnknownKeys) {
    const std::string head = R"({"format": "orthorank-plan", "version": 1, )";
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 2}, "layers": [], "layer": 1})"),
              "unknown key \"layer\" (known: format, version, model, layers, provenance)");
    EXPECT_EQ(refusal(head + R"("model": {"n_layers": 2, "layers": 2}, "layers": []})"),
              "model: unknown key \"layers\" (known: name, n_layers, fingerprint)");
    EXPECT_EQ(layer_refusal(R"({"index": 3, "action": "skip", "p": 0.3})"),
              "layer 3: unknown key \"p\" (known: index, action, ratio, policy, seed, window, "
              "correction)");
    EXPECT_EQ(refusal(head + "\"two\\nlines" + std::string(100, 'k') + "\": 1}"),
              "unknown key \"two\\nlines" + std::string(51, 'k') +
                  "\"... (known: format, version, model, layers, provenance)");
}

TEST_F(PlanRefusals, BadModel) {
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

TEST_F(PlanRefusals, BadLayerList) {
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

TEST_F(PlanRefusals, BadAction) {
    EXPECT_EQ(layer_refusal(R"({"index": 4})"), "layer 4: \"action\" is missing");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": true})"),
              "layer 4: \"action\" must be a string, found true");
    EXPECT_EQ(layer_refusal(R"({"index": 4, "action": "remove"})"),
              "layer 4: unknown action \"remove\" (known: dense, skip, select)");
}

TEST_F(PlanRefusals, BadRatio) {
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

TEST_F(PlanRefusals, BadPolicyOrSeed) {
    const std::string head = R"({"index": 4, "action": "select", "ratio": 0.3, )";
    EXPECT_EQ(layer_refusal(head + R"("policy": "best"})"),
              "layer 4: unknown policy \"best\" (known: orthogonal, orthogonal-reverse, "
              "orthogonal-raw, orthogonal-no-kv, random, norm-up, norm-down, attention-up, query, "
              "attention-output, cosine, probe, inherit)");
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

TEST_F(PlanRefusals, BadCorrectionOrProbe) {
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

TEST_F(PlanRefusals, BadProvenance) {
    EXPECT_EQ(refusal(R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 2},
                          "layers": [], "provenance": "greedy"})"),
              "\"provenance\" must be an object, found \"greedy\"");
}

}  // namespace
}  // namespace orthorank
