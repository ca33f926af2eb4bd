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

}  // namespace
}  // namespace orthorank::test
