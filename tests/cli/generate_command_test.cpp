// `orthorank generate` on a tiny model: where prompts come from, what is said of them, its results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

class GenerateCommand : public TextCommandTest {};

TEST_F(GenerateCommand, GenerateWritesTextAndOneLineOfNumbers) {
    const ProgramResult result = run({"generate", "-p", "the dog", "-n", "8", "--plan", plan_});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_FALSE(result.out.empty());
    EXPECT_THAT(result.err, AllOf(StartsWith("prefill "), HasSubstr("tokens/s"),
                                  HasSubstr("% of rows computed in 1 selecting layers")));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    EXPECT_THAT(run({"generate", "-p", "the dog", "-n", "2"}).err, HasSubstr("| dense"));
}

TEST_F(GenerateCommand, GenerateTakesItsPromptFromAnywhere) {
    write_bytes(dir_.file("p.txt"), "the dog\n");
    const ProgramResult result = run({"generate", "-p", "the dog", "-n", "8"});
    EXPECT_EQ(run({"generate", "-f", dir_.file("p.txt"), "-n", "8"}).out, result.out);
    EXPECT_EQ(
        run({"generate", "-n", "8"}, {.text = "the dog\n", .environment = {}, .out_path = ""}).out,
        result.out);
}

TEST_F(GenerateCommand, GenerateJson) {
    const std::vector<std::string> arguments = {"generate", "-p", "the dog", "-n", "8",
                                                "--temp",   "0",  "--plan",  plan_};
    const json result = run_json(arguments)["results"][0];
    EXPECT_EQ(result["plan"], "plan.json");
    EXPECT_EQ(result["tokens"].size(), result["n_generated"].get<size_t>());
    EXPECT_LE(result["tokens"].size(), 8u);
    EXPECT_TRUE(result["text"].is_string());
    EXPECT_GT(result["prefill_tokens_per_s"].get<double>(), 0);
    EXPECT_LT(result["fraction_of_rows_computed"].get<double>(), 1);
    EXPECT_EQ(run_json(arguments)["results"][0]["tokens"], result["tokens"]);
    const json none = run_json({"generate", "-p", "the dog", "-n", "0"})["results"][0];
    EXPECT_THAT(none["tokens"], SizeIs(0));
    EXPECT_TRUE(none["decode_tokens_per_s"].is_null());
    EXPECT_TRUE(none["plan"].is_null());
}

TEST_F(GenerateCommand, GenerateChat) {
    expect_failure(1, "chat template", {"generate", "-p", "hi", "--chat"});
    TinyModel chatty = tiny_llama();
    chatty.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% endfor %}";
    write_tiny_gguf(chatty, model_);
    const json plain = run_json({"generate", "-p", "hi", "-n", "1", "--no-chat"});
    const json chat = run_json({"generate", "-p", "hi", "-n", "1", "--chat"});
    const json usual = run_json({"generate", "-p", "hi", "-n", "1"});
    EXPECT_GT(chat["results"][0]["n_prompt"], plain["results"][0]["n_prompt"]);
    EXPECT_EQ(usual["results"][0]["n_prompt"], plain["results"][0]["n_prompt"]) << "no terminal";
}

TEST_F(GenerateCommand, PromptLongerThanTheContextIsRefused) {
    expect_failure(1, "the context only 4: shorten it or raise --ctx",
                   {"generate", "-f", text(), "--ctx", "4"});
    expect_failure(1, "the model has 2048", {"generate", "-p", "x", "--ctx", "4096"});
    std::string longer;
    for (int i = 0; i < 3000; ++i) {
        longer += " x";
    }
    write_bytes(dir_.file("long.txt"), longer);
    expect_failure(1, "the context only 2048: shorten it\n",
                   {"generate", "-f", dir_.file("long.txt")});
}

TEST_F(GenerateCommand, FullContextEndsTheText) {
    const std::vector<std::string> arguments = {"generate", "-p", "the dog", "-n", "-1",
                                                "--ctx",    "12", "--temp",  "0"};
    EXPECT_EQ(run_json(arguments)["results"][0]["stop_reason"], "context");
    EXPECT_THAT(run(arguments).err, StartsWith("The context of 12 tokens is full.\n"));
}

TEST_F(GenerateCommand, AFileThatIsNoTextIsRefusedAtOnce) {
    // The longest name of a token has 6 bytes: 2048 of them are 12,288.
    write_bytes(dir_.file("no-text"), std::string(50'000'000, '\x80'));
    expect_failure(
        1, "the prompt of 50000000 bytes has at least 8333333 tokens, the context only 2048",
        {"generate", "-f", dir_.file("no-text")});
    // These need only their first tokens.
    const std::vector<std::string> few = {"perplexity", "-f", dir_.file("long.txt"), "--ctx", "16",
                                          "--windows",  "2"};
    write_bytes(dir_.file("long.txt"), std::string(50'000'000, 'x'));
    EXPECT_EQ(run_json(few)["results"][0]["n_windows"], 2);
}

TEST_F(GenerateCommand, TwoBosAreNoted) {
    EXPECT_THAT(run({"generate", "-p", "<s>x", "-n", "1"}).err,
                HasSubstr("note: the prompt begins with two BOS tokens"));
    EXPECT_THAT(run({"generate", "-p", "x", "-n", "1"}).err, testing::Not(HasSubstr("note")));
}

TEST(DefaultModel, KnowsParis) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no default model at " << default_model_path();
    }
    const ProgramResult result =
        run_program(ORTHORANK_PROGRAM, {"generate", "-m", default_model_path(), "-p",
                                        "The capital of France is", "-n", "4", "--temp", "0"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("Paris"));
}

}  // namespace
}  // namespace orthorank::test
