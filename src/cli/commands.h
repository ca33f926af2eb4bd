// The program's commands, one file each: argv in, printing out, everything else done by a task.
// Each function adds one command to the app; CLI11 runs it when it was named. They throw what the
// tasks throw; main.cpp turns that into exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace orthorank {

// The program's own arguments as the user gave them, for results: what was run.
using Argv = std::vector<std::string>;

void add_generate(CLI::App &app, const Argv &argv);
void add_perplexity(CLI::App &app, const Argv &argv);
void add_eval(CLI::App &app, const Argv &argv);
void add_longbench(CLI::App &app, const Argv &argv);
void add_chat(CLI::App &app, const Argv &argv);
void add_serve(CLI::App &app, const Argv &argv);
void add_rpc_server(CLI::App &app, const Argv &argv);
void add_trace(CLI::App &app, const Argv &argv);
void add_bench(CLI::App &app, const Argv &argv);
void add_info(CLI::App &app, const Argv &argv);
void add_select_layers(CLI::App &app, const Argv &argv);
void add_export(CLI::App &app, const Argv &argv);
void add_analyze(CLI::App &app, const Argv &argv);
void add_reproduce(CLI::App &app, const Argv &argv);

}  // namespace orthorank
