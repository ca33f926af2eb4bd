// Commands on a model whose texts need BOS and whose layers have windows; what `info` says of such
// layers, and of the first token as a sink.
#include <gmock/gmock.h>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class GemmaCommand : public CommandTest {
 protected:
    GemmaCommand() : CommandTest(tiny_architecture("gemma3")) {
        std::string words;
        for (int i = 0; i < 60; ++i) {
            words += "the " + std::string(1, static_cast<char>('a' + i % 26)) + "he\n";
        }
        write_bytes(text_, words);
    }

    std::string text_ = dir_.file("words.txt");
};

TEST_F(GemmaCommand, PerplexityWindowsBeginWithBosUnasked) {
    const std::vector<std::string> arguments = {"perplexity", "-f",        text_, "--ctx",
                                                "16",         "--windows", "2"};
    const json found = run_json(arguments)["results"][0];
    std::vector<std::string> asked = arguments;
    asked.push_back("--bos-each-window");
    EXPECT_EQ(found["bos"], "each");
    EXPECT_EQ(found["ppl"], run_json(asked)["results"][0]["ppl"]);
}

TEST_F(GemmaCommand, InfoSaysWhatLayersAreMadeOf) {
    const json hparams = run_json({"info"})["results"][0]["hparams"];
    EXPECT_EQ(hparams["window"], json({20, 20, 20, 20, 20, 0, 20}));
    EXPECT_EQ(hparams["rope_freq_base"], json({10000.0, 1000000.0}));
    EXPECT_THAT(run({"info"}).out, HasSubstr("windows      20 in 6 of 7 layers"));
}

TEST_F(GemmaCommand, InfoMeasuresTheSink) {
    EXPECT_TRUE(run_json({"info"})["results"][0]["sink"].is_null());
    const json sink = run_json({"info", "--sink", "-f", text_})["results"][0]["sink"];
    // Random weights make none.
    EXPECT_TRUE(sink["by_activation"].is_null());
    EXPECT_FALSE(sink["holds"].get<bool>());
    EXPECT_THAT(sink["warnings"][0].get<std::string>(), HasSubstr("position 0 is no sink"));
    EXPECT_THAT(sink["warnings"][0].get<std::string>(), HasSubstr("--policy probe"));
    EXPECT_FALSE(sink["scores_raw_rows"].get<bool>());
    const std::string text = run({"info", "--sink"}).out;  // on the documentation
    EXPECT_THAT(text, HasSubstr("first token as a sink, on 101 tokens"));
    EXPECT_THAT(text, HasSubstr("  warning          position 0 is no sink"));
    expect_failure(2, "--file does nothing: it is the text of --sink", {"info", "-f", text_});
    write_bytes(text_, "short");
    expect_failure(1, "--sink needs 101", {"info", "--sink", "-f", text_});
}

class SharedKeysCommand : public CommandTest {
 protected:
    SharedKeysCommand() : CommandTest(tiny_architecture("gemma4e")) {}
};

TEST_F(SharedKeysCommand, InfoSaysWhichLayersHaveNoKeys) {
    const json hparams = run_json({"info"})["results"][0]["hparams"];
    EXPECT_EQ(hparams["n_layers_with_keys"], 5);
    EXPECT_EQ(hparams["n_embd_per_layer"], 32);
    EXPECT_EQ(hparams["head_dim"], json({32, 32, 64, 32, 64, 32, 32, 64}));
    EXPECT_THAT(run({"info"}).out, HasSubstr("layers 5 to 7 read the keys of earlier ones"));
}

TEST_F(SharedKeysCommand, WhatCannotBeDoneIsOneLine) {
    const std::string plan = dir_.file("plan.json");
    write_bytes(plan, R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 8},
                          "layers": [{"index": 3, "action": "skip"}]})");
    expect_failure(2, "removes layer 3, whose keys layer 5 reads",
                   {"generate", "--plan", plan, "-p", "a", "-n", "1"});
    expect_failure(2, "layer 3 cannot be left out: layer 5 reads its keys",
                   {"export", "--plan", plan, "-o", dir_.file("out.gguf")});
    const std::string text = dir_.file("words.txt");
    write_bytes(text, std::string(400, 'a'));
    expect_failure(
        2, "Taylor scores are not computed for layers that have embeddings",
        {"select-layers", "--method", "shortened-taylor", "--no-plus", "--layers", "1",
         "--calibration", text, "--seqlen", "24", "--windows", "2", "-o", dir_.file("p.json")});
}

// Gradients, a search, and fits on windows of the model's own kind, with norms and without one
// before attention: what comes out runs.
class FitCommand : public CommandTest, public testing::WithParamInterface<std::string> {
 protected:
    // Taylor scores leave the first four and the last two layers alone.
    static TinyModel of_seven_layers() {
        TinyModel tiny = tiny_architecture(GetParam());
        tiny.n_layers = 7;
        return tiny;
    }

    FitCommand() : CommandTest(of_seven_layers()) {
        std::string words;
        for (int i = 0; i < 60; ++i) {
            words += "the " + std::string(1, static_cast<char>('a' + i % 26)) + "he\n";
        }
        write_bytes(text_, words);
    }

    void search(const std::string &out, const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {"select-layers",
                                              "--layers",
                                              "1",
                                              "--calibration",
                                              text_,
                                              "--seqlen",
                                              "24",
                                              "--windows",
                                              "4",
                                              "-o",
                                              out};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProgramResult result = run(arguments);
        ASSERT_EQ(result.exit_code, 0) << result.err;
    }

    std::string text_ = dir_.file("words.txt");
};

TEST_P(FitCommand, PlansAreSearchedFittedAndRun) {
    const std::string removed = dir_.file("removed.json");
    const std::string fitted = dir_.file("fitted.json");
    search(removed, {"--method", "shortened-taylor"});
    search(fitted, {"--correct", "4", "--policy", "probe"});
    const json results = run_json(
        {"perplexity", "-f", text_, "--ctx", "24", "--plan", removed, "--plan", fitted})["results"];
    ASSERT_EQ(results.size(), 3u);
    for (const json &result : results) {
        EXPECT_GT(result["ppl"].get<double>(), 1);
    }
    EXPECT_NE(results[2]["ppl"], results[0]["ppl"]);
}

INSTANTIATE_TEST_SUITE_P(Architectures, FitCommand, testing::Values("gemma3", "olmo2", "qwen2moe"),
                         [](const auto &test) { return test.param; });

}  // namespace
}  // namespace orthorank::test
