// The options of select-layers, and its part that searches nothing: the single-layer sweep. Used by
// one command at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibration/calibration.h"
#include "calibration/selection_files.h"
#include "cli/shared_options.h"
#include "engine/engine.h"

namespace orthorank {

// --joint
struct JointArguments {
    bool is_wanted = false;
    std::optional<double> target_time;
    std::vector<std::string> choices;  // nothing: by the objective
    int n_kl_windows = 2;
    int n_moves = 8;
};

struct SelectLayersArguments {
    ModelArguments model;
    CalibrationOptions calibration;
    std::string protocol = "windows";
    std::string method = "sleb";
    std::string convert = "select";
    double ratio = 0.333;
    std::string policy = "orthogonal";
    uint64_t seed = 0;
    int query_window = k_default_query_window;
    std::string sparsity;
    int n_layers = 0;
    std::string objective = "all";
    std::optional<int> continuation;  // nothing: 256 with --objective continuation
    std::vector<int> keep_last;       // several: the search is made with the first
    bool inherits = false;
    bool no_plus = false;
    bool race = false;
    bool exact = false;
    bool brute_force = false;
    bool restart = false;
    bool sweep = false;
    int memory_mib = 4096;
    std::string from;
    std::string refit;
    std::optional<int> correct;  // rank; nothing: no corrections, but 64 with --refit
    std::optional<double> ridge;
    double weigh = 0;         // the part of a row's weight that is the continuation's attention
    bool has_policy = false;  // --policy was given

    // Of --objective continuation or --weigh; 0: every token is a target.
    int n_continuation() const {
        return objective == "continuation" || weigh > 0.0 ? continuation.value_or(k_continuation)
                                                          : 0;
    }
    static constexpr int k_continuation = 256;
    JointArguments joint;
    std::string out;
    std::string csv;  // --sweep
    std::string svg;
    std::string json;
};

void add_calibration_options(CLI::App &command, SelectLayersArguments &a);
void add_method_options(CLI::App &command, SelectLayersArguments &a);
void add_objective_options(CLI::App &command, SelectLayersArguments &a);
void add_correction_options(CLI::App &command, SelectLayersArguments &a);

void add_joint_options(CLI::App &command, SelectLayersArguments &a);

// Throws Error{usage} for options that exclude each other or would do nothing beside the others,
// and for outputs as CommandFiles and check_plan_output do.
void check_arguments(const CLI::App &command, const SelectLayersArguments &arguments);

// Whether standard output is free for people to read.
bool prints_text(const SelectLayersArguments &arguments);

// The policy of this name, with --seed or --query-window where it has one.
Policy policy_of(const SelectLayersArguments &arguments, const std::string &name);

// The policy of the search: that of --policy, which a probe cannot guide before it is fitted.
std::string search_policy(const SelectLayersArguments &arguments);

// Throws Error{usage} where so many kept rows are the whole prompt of a window.
void check_leaves_rows(const SelectLayersArguments &arguments, int keep_last);

// What every part computes with: the model, the windows of the calibration text, an engine for one
// of them, and the settings but for the change.
struct SelectionInputs {
    std::unique_ptr<Model> model;
    Calibration calibration;
    SelectionSettings settings;
    std::unique_ptr<Engine> engine;

    const Windows &windows() const { return calibration.windows; }
};

// Loads them and prints how much text there is. fits_corrections: the texts must have equally many
// windows. Throws as check_leaves_rows (before all else), load_model, read_calibration and
// check_equal_parts do.
SelectionInputs load_inputs(const SelectLayersArguments &arguments, bool fits_corrections);

// --correct: the plan with corrections, and probes with --policy probe; its provenance says so.
// Prints a line per layer. Throws Interrupted when asked to stop.
Plan correct_plan(const SelectLayersArguments &arguments, const SelectionInputs &inputs,
                  const Plan &plan, const std::function<bool()> &should_stop);

// --keep-last with several numbers: the plan with the best of those offered, by what it then costs.
// Prints a line. With one or none the plan as it is.
Plan with_best_keep_last(const SelectLayersArguments &arguments, const std::vector<int> &offered,
                         Plan plan, const std::function<double(const Plan &)> &cost_of);

// --refit. Throws Interrupted when asked to stop.
void run_refit(const SelectLayersArguments &arguments, const Argv &argv,
               const std::function<bool()> &should_stop);

// --joint. Throws Interrupted when asked to stop.
void run_joint_search(const SelectLayersArguments &arguments, const Argv &argv,
                      const std::function<bool()> &should_stop);

// --sweep. Throws Interrupted when asked to stop.
void run_layer_sweep(const SelectLayersArguments &arguments, const Argv &argv,
                     const std::function<bool()> &should_stop);

}  // namespace orthorank
