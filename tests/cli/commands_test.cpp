// The built program on tiny models: exit codes, error lines, JSON fields.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

class Commands : public TextCommandTest {};

TEST_F(Commands, HelpOfEveryCommand) {
    for (const std::string command : {"generate", "perplexity", "trace", "info"}) {
        const ProgramResult result = run({command, "--help"});
        EXPECT_EQ(result.exit_code, 0);
        EXPECT_EQ(result.err, "");
        for (const char *option : {"--model", "--plan", "--threads", "--json", "--device"}) {
            EXPECT_THAT(result.out, HasSubstr(option)) << command;
        }
        EXPECT_THAT(run_program(ORTHORANK_PROGRAM, {"--help"}).out, HasSubstr(command));
    }
    EXPECT_THAT(run({"--version"}).out, AllOf(StartsWith("orthorank "), HasSubstr("ggml")));
}

TEST_F(Commands, UsageErrorsExitWith2) {
    EXPECT_EQ(run_program(ORTHORANK_PROGRAM, {}).exit_code, 2);
    EXPECT_EQ(run_program(ORTHORANK_PROGRAM, {"dance"}).exit_code, 2);
    expect_failure(2, "--nonsense", {"info", "--nonsense"});
    expect_failure(2, "--threads", {"info", "--threads", "0"});
    expect_failure(2, "--file", {"perplexity"});
    expect_failure(2, "--plan", {"trace", "-p", "x"});
    expect_failure(2, "unknown KV cache type 'q3' (known: f16, f32, q8_0)",
                   {"generate", "-p", "x", "--kv-type", "q3"});
    expect_failure(2, "unknown apply mode 'never' (known: prefill, decode, both)",
                   {"generate", "-p", "x", "--plan", plan_, "--apply", "never"});
    expect_failure(2, "--seed", {"generate", "-p", "x", "--seed", "-1"});
    expect_failure(2, "temperature", {"generate", "-p", "x", "--temp", "-1"});
    expect_failure(2, "--no-dense", {"perplexity", "-f", text(), "--no-dense"});
    expect_failure(2, "excludes", {"generate", "-p", "x", "-f", text()});
}

TEST_F(Commands, UnknownPolicyAndBadPlans) {
    const std::string bad = dir_.file("bad.json");
    write_bytes(bad, plan_text(R"({"index": 1, "action": "select", "ratio": 0.4, "policy": "x"})"));
    expect_failure(1, "orthogonal", {"generate", "-p", "x", "--plan", bad});
    write_bytes(bad, plan_text("", 40));
    expect_failure(1, "40", {"perplexity", "-f", text(), "--plan", bad});
    write_bytes(bad, "{");
    expect_failure(1, "bad.json", {"trace", "-p", "x", "--plan", bad});
    expect_failure(1, "none.json", {"info", "--plan", dir_.file("none.json")});
    write_bytes(bad, plan_text(""));
    expect_failure(2, "no selecting layer", {"trace", "-p", "x", "--plan", bad});
    write_bytes(bad, plan_text(R"({"index": 1, "action": "select", "ratio": 0.4,
                                   "policy": "attention-up"})"));
    expect_failure(2, "attention-up", {"generate", "-p", "x", "--plan", bad});
}

TEST_F(Commands, MissingFilesAndDevices) {
    const ProgramResult result = run_program(ORTHORANK_PROGRAM, {"info", "-m", "/none.gguf"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err,
                AllOf(HasSubstr("/none.gguf"), HasSubstr("make deps"), HasSubstr("-m")));
    expect_failure(1, "none.txt", {"perplexity", "-f", dir_.file("none.txt")});
    expect_failure(1, "none.txt", {"generate", "-f", dir_.file("none.txt")});
    expect_failure(1, "there is no device 'GPU99' (known: ", {"info", "--device", "GPU99"});
    expect_failure(1, "cannot be written", {"info", "--json", "/none/x.json"});
    expect_failure(1, "cannot be written", {"info", "--json", dir_.path().string()});
    write_bytes(dir_.file("broken.gguf"), "GGUF but not for long");
    const ProgramResult broken =
        run_program(ORTHORANK_PROGRAM, {"info", "-m", dir_.file("broken.gguf")});
    EXPECT_EQ(broken.exit_code, 1);
    EXPECT_THAT(broken.err, HasSubstr("broken.gguf"));
}

TEST_F(Commands, WeightsInOtherTypes) {
    expect_failure(2, "unknown weight type 'q3' (known: auto, file, f32, f16, bf16, q8_0",
                   {"info", "--weights", "q3"});
    expect_failure(2, "prefill=TYPE,decode=TYPE", {"info", "--weights", "both=f16"});
    expect_failure(2, "rows divisible by 256", {"info", "--weights", "q4_k"});
    const json as_file = run_json({"info"})["model"]["weights"];
    EXPECT_EQ(as_file["prefill"]["type"], "file");
    EXPECT_EQ(as_file["prefill"]["nmse"], 0.0);
    const json two =
        run_json({"info", "--weights", "prefill=bf16,decode=q8_0"})["model"]["weights"];
    EXPECT_EQ(two["prefill"]["type"], "bf16");
    EXPECT_EQ(two["decode"]["type"], "q8_0");
    EXPECT_EQ(two["prefill"]["bytes"].get<double>() * 2, as_file["prefill"]["bytes"]);
    EXPECT_THAT(run({"info", "--weights", "prefill=bf16"}).out, HasSubstr("prefill bf16 ("));

    const auto perplexity = [&](const std::string &weights) {
        return run_json({"perplexity", "-f", text(), "--ctx", "24", "--weights", weights});
    };
    const double expected = perplexity("file")["results"][0]["ppl"];
    for (const std::string type : {"f32", "bf16", "q8_0"}) {
        const json found = perplexity(type);
        EXPECT_EQ(found["model"]["weights"]["prefill"]["type"], type);
        EXPECT_NEAR(found["results"][0]["ppl"], expected, type == "f32" ? 0 : 0.02 * expected);
    }
}

TEST_F(Commands, WeightsChosenByTiming) {
    const ProgramInput input{"", {"XDG_CACHE_HOME=" + dir_.file("cache")}, ""};
    const ProgramResult first = run({"info", "--weights", "auto"}, input);
    EXPECT_EQ(first.exit_code, 0) << first.err;
    EXPECT_THAT(first.err, AllOf(StartsWith("weights: a layer, 512 rows + one row: file "),
                                 HasSubstr("q4_0"), HasSubstr("not taken: NMSE")));
    const ProgramResult second = run({"info", "--weights", "auto"}, input);
    EXPECT_THAT(second.err, HasSubstr("(timed before)"));
    EXPECT_EQ(second.out, first.out);
    write_bytes(dir_.file("cache/orthorank/weights.json"), "{");
    EXPECT_THAT(run({"info", "--weights", "auto"}, input).err,
                AllOf(StartsWith("note: "), HasSubstr("ignored and written anew")));
}

TEST_F(Commands, ModelFromTheEnvironment) {
    const ProgramResult result =
        run_program(ORTHORANK_PROGRAM, {"info"},
                    {.text = "", .environment = {"ORTHORANK_MODEL=" + model_}, .out_path = ""});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(model_));
}

TEST_F(Commands, FullDiskIsReported) {
    const ProgramResult result =
        run({"info"}, {.text = "", .environment = {}, .out_path = "/dev/full"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("standard output"));
}

TEST_F(Commands, ResultsSayWhatWasRun) {
    const json result = run_json({"info"});
    EXPECT_THAT(result["command"], Contains("info"));
    EXPECT_EQ(result["model"]["name"], "llama");
    EXPECT_EQ(result["model"]["file"], model_);
    EXPECT_EQ(result["model"]["file_type"], "F32");
    EXPECT_EQ(result["model"]["fingerprint"].get<std::string>().size(), 16u);
    EXPECT_TRUE(result["build"]["version"].is_string() && result["build"]["ggml"].is_string());
    EXPECT_TRUE(result["results"].is_array());
}

TEST_F(Commands, InfoDescribesModelAndPlans) {
    const std::string other = dir_.file("other.json");
    write_bytes(other, plan_text(R"({"index": 0, "action": "skip"})", 7));
    const json info = run_json({"info", "--plan", plan_, "--plan", other, "--ctx", "512",
                                "--kv-type", "f32"})["results"][0];
    EXPECT_EQ(info["hparams"]["n_layers"], 3);
    EXPECT_EQ(info["hparams"]["n_head_kv"], 4);
    // K and V, 3 layers, 64 wide, 4 bytes.
    EXPECT_EQ(info["kv_cache"]["bytes"], 2 * 3 * 64 * 4 * 512);
    EXPECT_FALSE(info["devices"].empty());
    EXPECT_FALSE(info["buffers"].empty());
    EXPECT_FALSE(info["tensor_types"].empty());
    EXPECT_EQ(info["plans"][0]["plan"], "plan.json");
    EXPECT_EQ(info["plans"][0]["fits"], true);
    EXPECT_NEAR(info["plans"][0]["effective_sparsity"].get<double>(), 0.2, 1e-9);
    EXPECT_EQ(info["plans"][0]["layers"][0]["policy"], "orthogonal");
    EXPECT_EQ(info["plans"][1]["fits"], false);
    EXPECT_THAT(info["plans"][1]["misfit"].get<std::string>(), HasSubstr("7"));
    EXPECT_THAT(run({"info", "--plan", plan_}).out, HasSubstr("select 0.4 orthogonal"));
    EXPECT_THAT(run({"info", "--device", "CPU"}).out, HasSubstr("CPU_Mapped"));
    EXPECT_THAT(run({"info", "--device", "CPU", "--no-mmap"}).out, Not(HasSubstr("CPU_Mapped")));
}

TEST_F(Commands, InfoOfLayersThatDiffer) {
    make_uneven_file(tiny_llama()).write(model_);  // every even layer has half of the others' width
    EXPECT_THAT(run({"info"}).out, AllOf(HasSubstr("feed-forward 64, 128\n"),
                                         HasSubstr("2, 4 of 16, 2, 4 for keys and values")));
    const json hparams = run_json({"info"})["results"][0]["hparams"];
    EXPECT_EQ(hparams["n_ff"], json({64, 128, 64}));
    EXPECT_EQ(hparams["n_head"], json({2, 4, 2}));
    EXPECT_EQ(hparams["n_vocab"], 288);
}

TEST_F(Commands, InfoComparesFingerprints) {
    const std::string fingerprint = run_json({"info"})["model"]["fingerprint"];
    json plan = json::parse(read_bytes(plan_));
    plan["model"]["fingerprint"] = fingerprint;
    write_bytes(plan_, plan.dump());
    EXPECT_EQ(run_json({"info", "--plan", plan_})["results"][0]["plans"][0]["fits"], true);
    plan["model"]["fingerprint"] = "0123456789abcdef";
    write_bytes(plan_, plan.dump());
    EXPECT_EQ(run_json({"info", "--plan", plan_})["results"][0]["plans"][0]["fits"], false);
    expect_failure(1, "0123456789abcdef", {"generate", "-p", "x", "--plan", plan_});
}

TEST_F(Commands, TraceJson) {
    const json result = run_json({"trace", "-f", text(), "--tokens", "10", "--plan", plan_});
    EXPECT_THAT(result["tokens"], SizeIs(10));
    EXPECT_THAT(result["pieces"], SizeIs(10));
    ASSERT_THAT(result["layers"], SizeIs(1));
    const json layer = result["layers"][0];
    EXPECT_EQ(layer["index"], 1);
    EXPECT_EQ(layer["policy"], "orthogonal");
    EXPECT_EQ(layer["ratio"], 0.4);
    EXPECT_THAT(layer["scores"], SizeIs(10));
    EXPECT_TRUE(layer["scores"][0].is_null());
    EXPECT_TRUE(layer["scores"][1].is_number());
    EXPECT_THAT(layer["rows"], SizeIs(4));
    const json longer =
        run_json({"trace", "-f", text(), "--tokens", "10", "--plan", plan_, "--decode", "3"});
    EXPECT_EQ(longer["results"][0]["n_prompt"], 10);
    EXPECT_EQ(longer["results"][0]["n_tokens"], longer["tokens"].size());
    // What is decoded comes behind the text, and has scores as the text has.
    ASSERT_THAT(longer["tokens"], SizeIs(13));
    EXPECT_EQ(json(longer["tokens"].begin(), longer["tokens"].begin() + 10), result["tokens"]);
    EXPECT_THAT(longer["layers"][0]["scores"], SizeIs(13));
    EXPECT_TRUE(longer["layers"][0]["scores"][12].is_number());
}

TEST_F(Commands, TraceTableMarksRows) {
    const ProgramResult result = run({"trace", "-f", text(), "--tokens", "10", "--plan", plan_});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("layer 1"), HasSubstr("sink"), HasSubstr("4 of 10")));
    const size_t head = result.out.find('\n');
    EXPECT_EQ(
        std::count(result.out.begin() + static_cast<std::ptrdiff_t>(head), result.out.end(), '*'),
        4);
}

TEST_F(Commands, AnEmptyTextIsItsFirstSpecialToken) {
    EXPECT_THAT(run_json({"trace", "-p", "", "--plan", plan_})["tokens"], SizeIs(1));
}

}  // namespace
}  // namespace orthorank::test
