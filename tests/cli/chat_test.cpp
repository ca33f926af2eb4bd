// A conversation by lines of standard input.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using testing::HasSubstr;
using testing::Not;

TinyModel with_template() {
    TinyModel tiny = tiny_llama();
    // Known to libllama's list of forms too, for builds that run no templates.
    tiny.chat_template =
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    return tiny;
}

class ChatCommand : public CommandTest {
 protected:
    ChatCommand() : CommandTest(with_template()) {}
    ProgramResult chat(const std::string &lines, std::vector<std::string> more = {}) const {
        std::vector<std::string> arguments = {"chat", "--temp", "0", "--ctx", "512"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        ProgramInput input;
        input.text = lines;
        return run(arguments, input);
    }
};

TEST_F(ChatCommand, TurnsRememberWhatWasSaid) {
    const ProgramResult one = chat("the fox\n", {"-n", "6"});
    ASSERT_EQ(one.exit_code, 0) << one.err;
    const ProgramResult two = chat("the fox\nthe dog\n", {"-n", "6"});
    ASSERT_EQ(two.exit_code, 0) << two.err;
    EXPECT_TRUE(two.out.starts_with(one.out)) << two.out;
    const ProgramResult apart = chat("the fox\n/clear\nthe fox\n", {"-n", "6"});
    EXPECT_EQ(apart.out, one.out + one.out) << "a new conversation";
    const ProgramResult stats = chat("the fox\nthe dog\n/stats\n", {"-n", "6"});
    // Both turns are in the prompt: more tokens than "user:the fox" and its answer alone.
    EXPECT_THAT(stats.err, HasSubstr("dense: prompt "));
    EXPECT_THAT(stats.err, HasSubstr("| answer 6 tokens, "));
}

TEST_F(ChatCommand, PlansAndCommands) {
    const ProgramResult result =
        chat("/stats\n/help\n/sparsity much\n/sparsity 20%\nthe fox\n/stats\n/quit\nnever\n",
             {"-n", "4", "--plan", plan_});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("no answer yet"));
    EXPECT_THAT(result.err, HasSubstr("/clear: a new conversation"));
    EXPECT_THAT(result.err, HasSubstr("'much' is not a part of the model"));
    EXPECT_THAT(result.err, HasSubstr("no plan of 20%"));
    EXPECT_THAT(result.err, HasSubstr("plan.json: prompt ")) << "the plan stays what it was";
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1) << result.out;
}

TEST_F(ChatCommand, CtrlCEndsAnAnswerAndNotTheProgram) {
    ProgramInput input;
    input.text = "the fox\n/stats\n/clear\nthe dog\n/stats\n";
    input.out_path = dir_.file("out");
    input.interrupt_when = input.out_path;
    const ProgramResult result = run({"chat", "--temp", "0", "--ctx", "2000", "-n", "1500"}, input);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("no answer yet that came to its end"));
    EXPECT_THAT(result.err, HasSubstr("| answer ")) << "the second one did";
}

TEST_F(ChatCommand, NeedsATemplate) {
    write_tiny_gguf(tiny_llama(), dir_.file("bare.gguf"));
    const std::string program = fmt::format("{}/orthorank", ORTHORANK_BINARY_DIR);
    const ProgramResult result = run_program(program, {"chat", "-m", dir_.file("bare.gguf")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("has no chat template"));
}

}  // namespace
}  // namespace orthorank::test
