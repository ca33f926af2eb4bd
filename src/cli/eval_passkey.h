// eval --tasks passkey: its options and its run. Used by one command at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/shared_options.h"
#include "evaluation/passkey_run.h"

namespace orthorank {

constexpr const char *k_passkey = "passkey";

struct PasskeyArguments {
    std::string text;
    std::string field = "text";
    std::vector<int> lengths = {1024, 2048};
    std::vector<int> depths = {10, 30, 50, 70, 90};  // per cent
    int n_each = 20;
    uint64_t seed = 0;
};

// What only this task has.
void add_passkey_options(CLI::App &command, PasskeyArguments &arguments);

// Runs and prints it. plans: dense first, if has_dense.
void run_passkey_task(const PasskeyArguments &arguments, const ModelArguments &model_arguments,
                      const Model &model, std::span<const Plan> plans, bool has_dense,
                      const std::string &json_path, const Argv &argv);

}  // namespace orthorank
