// The options of select-layers, and its part that searches nothing: the single-layer sweep. Used by
// one command at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "cli/shared_options.h"
#include "tasks/calibration.h"

namespace orthorank {

struct SelectLayersArguments {
    ModelArguments model;
    CalibrationOptions calibration;
    std::string protocol = "windows";
    std::string method = "sleb";
    std::string convert = "select";
    double ratio = 0.333;
    std::string policy = "orthogonal";
    uint64_t seed = 0;
    std::string sparsity;
    int n_layers = 0;
    bool no_plus = false;
    bool race = false;
    bool exact = false;
    bool brute_force = false;
    bool restart = false;
    bool sweep = false;
    int memory_mib = 4096;
    std::string from;
    std::string out;
    std::string csv;  // --sweep
    std::string svg;
    std::string json;
};

void add_calibration_options(CLI::App &command, SelectLayersArguments &a);
void add_method_options(CLI::App &command, SelectLayersArguments &a);

// --sweep. Throws Interrupted when asked to stop.
void run_layer_sweep(const SelectLayersArguments &arguments, const Argv &argv,
                     const std::function<bool()> &should_stop);

}  // namespace orthorank
