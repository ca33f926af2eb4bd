#include "support/command_fixture.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace orthorank::test {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string plan_text(const std::string &layers, int n_layers) {
    return R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": )" +
           std::to_string(n_layers) + R"(}, "layers": [)" + layers + "]}";
}

CommandTest::CommandTest(const TinyModel &tiny)
    : model_(dir_.file("m.gguf")), plan_(dir_.file("plan.json")) {
    write_tiny_gguf(tiny, model_);
    write_bytes(plan_,
                plan_text(R"({"index": 1, "action": "select", "ratio": 0.4})", tiny.n_layers));
}

ProgramResult CommandTest::run(std::vector<std::string> arguments,
                               const ProgramInput &input) const {
    if (arguments.front() != "--version" && arguments.back() != "--help") {
        arguments.insert(arguments.end(), {"-m", model_, "--threads", "1"});
    }
    return run_program(std::string(ORTHORANK_BINARY_DIR) + "/orthorank", arguments, input);
}

json CommandTest::run_json(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", "-"});
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false);
}

void CommandTest::expect_failure(int exit_code, const std::string &part,
                                 const std::vector<std::string> &arguments) const {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_THAT(result.err, AllOf(StartsWith("orthorank: "), HasSubstr(part)));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

TextCommandTest::TextCommandTest() {
    write_bytes(text(), "the quick brown fox jumps over the lazy dog and goes on and on and on");
}

}  // namespace orthorank::test
