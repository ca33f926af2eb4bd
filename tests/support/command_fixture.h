// For tests of the commands: a folder of its own with a tiny model (three layers) and a plan (layer
// 1 selecting at ratio 0.4), and the program run on them.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/paths.h"
#include "support/program.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {

// A plan file for n_layers layers that does this with some of them.
std::string plan_text(const std::string &layers, int n_layers = 3);

class CommandTest : public testing::Test {
 protected:
    explicit CommandTest(const TinyModel &tiny = tiny_llama());

    // Arguments for the program; the model and one thread are added.
    virtual ProgramResult run(std::vector<std::string> arguments,
                              const ProgramInput &input = {}) const;
    // Runs with --json and expects success.
    nlohmann::json run_json(std::vector<std::string> arguments) const;
    // Expects this exit code and one line on standard error with `part` in it.
    void expect_failure(int exit_code, const std::string &part,
                        const std::vector<std::string> &arguments) const;

    TempDir dir_;
    std::string model_;
    std::string plan_;
};

// With a text of some twenty words beside the model.
class TextCommandTest : public CommandTest {
 protected:
    TextCommandTest();
    std::string text() const { return dir_.file("text.txt"); }
};

}  // namespace orthorank::test
