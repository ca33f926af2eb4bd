// select-layers --joint: options, the run, and what is printed of it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "calibration/joint_files.h"
#include "calibration/joint_model.h"
#include "calibration/layer_times.h"
#include "calibration/partial_file.h"
#include "cli/environment.h"
#include "cli/select_layers.h"
#include "engine/plan_files.h"
#include "report/result_frame.h"
#include "select/sparsity.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

// What the parts of one run share.
struct Run {
    const SelectLayersArguments &arguments;
    const JointSettings &settings;
    const SelectionInputs &inputs;
    const std::function<bool()> &should_stop;
    bool prints;
};

void check_joint_arguments(const SelectLayersArguments &arguments) {
    const JointArguments &joint = arguments.joint;
    if (arguments.sparsity.empty() == !joint.target_time.has_value()) {
        fail(ErrorKind::usage, "--joint needs a target: --sparsity 20% or --target-time 0.8");
    }
    if (joint.target_time && !(*joint.target_time > 0.0 && *joint.target_time < 1.0)) {
        fail(ErrorKind::usage, "--target-time {} is no part of the dense model's time: say 0.8",
             *joint.target_time);
    }
    if (!arguments.correct) {
        fail(ErrorKind::usage, "--joint fits corrections: say --correct RANK (0: the mean alone)");
    }
}

// A removed layer leaves no keys for the continuation, ratio 0 does.
std::vector<std::string> choice_texts(const SelectLayersArguments &arguments) {
    if (!arguments.joint.choices.empty()) {
        return arguments.joint.choices;
    }
    return arguments.n_continuation() > 0
               ? std::vector<std::string>{"0.333", "0.2", "0.1", "0.05", "0"}
               : std::vector<std::string>{"0.5", "0.333", "0.2", "skip"};
}

std::vector<LayerPlan> choices_of(const SelectLayersArguments &arguments) {
    const Policy policy = policy_of(arguments, arguments.policy);
    std::vector<LayerPlan> choices;
    for (const std::string &text : choice_texts(arguments)) {
        choices.push_back(choice_from_text(text, policy));
        for (size_t i = 0; i + 1 < choices.size(); ++i) {
            if (choices[i] == choices.back()) {
                fail(ErrorKind::usage, "--choices names {} twice", text);
            }
        }
    }
    if (arguments.inherits && (choices.size() != 1 || choices.front().action == Action::skip)) {
        fail(ErrorKind::usage,
             "--inherit picks rows once, for all layers: with it a layer may become one thing, "
             "such as --choices 0.1");
    }
    return choices;
}

JointSettings settings_of(const SelectLayersArguments &arguments, const SelectionSettings &common) {
    JointSettings settings;
    settings.choices = choices_of(arguments);
    settings.correction.rank = *arguments.correct;
    settings.correction.ridge = arguments.ridge.value_or(settings.correction.ridge);
    settings.correction.attention_part = arguments.weigh;
    settings.n_kl_windows = arguments.joint.n_kl_windows;
    settings.n_again = arguments.joint.n_moves;
    settings.brute_force = arguments.brute_force;
    settings.n_continuation = common.n_continuation;
    settings.keep_last = common.keep_last;
    settings.inherits = common.inherits;
    settings.correction.keep_last = common.keep_last;
    settings.by_time = arguments.joint.target_time.has_value();
    settings.target = settings.by_time ? 1.0 - *arguments.joint.target_time
                                       : sparsity_from_text(arguments.sparsity);
    settings.model_name = common.model_name;
    settings.fingerprint = common.fingerprint;
    settings.file_type = common.file_type;
    settings.kv_type = common.kv_type;
    settings.kernels = common.kernels;
    settings.correction_type = arguments.model.correction_type;
    settings.device = common.device;
    settings.n_model_layers = common.n_model_layers;
    settings.calibration = common.calibration;
    return settings;
}

std::string percent(double part) {
    return fmt::format("{:.1f}%", 100.0 * part);
}

// Of a layer as each of these choices, in the prompt of a window with so many rows kept.
LayerTimes layer_times(const Run &run, std::span<const LayerPlan> choices, int keep_last) {
    LayerTimeOptions options;
    options.rank = run.settings.correction.rank;
    options.keep_last = keep_last;
    options.inherits = run.settings.inherits;
    options.should_stop = run.should_stop;
    return measure_layer_times(*run.inputs.engine, run.inputs.windows().prompt_of(0), choices,
                               options);
}

JointSavings new_savings(const Run &run) {
    if (!run.settings.by_time) {
        return savings_by_sparsity(run.settings.choices, run.settings.n_model_layers);
    }
    const LayerTimes times = layer_times(run, run.settings.choices, run.settings.keep_last);
    if (run.prints) {
        print("prefill of {} tokens: {:.1f} ms, of which a layer {:.2f} ms\n",
              run.inputs.windows().prompt_of(0).size(), times.prefill_ms, times.dense_ms);
    }
    return savings_by_time(run.settings.choices, times.choices_ms, times.dense_ms,
                           times.prefill_ms);
}

JointState start(const Run &run) {
    const std::string partial = partial_path(run.arguments.out);
    JointState state;
    if (run.arguments.restart) {
        remove_partial(partial);
    } else if (std::optional<JointState> found = read_joint_partial(run.settings, partial)) {
        remark("continuing after {} finished rounds in {}", found->order.rounds.size(), partial);
        return std::move(*found);
    }
    state.savings = new_savings(run);
    return state;
}

void print_task(const Run &run, const JointState &state, int64_t n_expected) {
    print("target: {} of the {} saved; a layer saves", percent(run.settings.target),
          run.settings.by_time ? "prefill's time" : "layers");
    for (size_t i = 0; i < state.savings.choices.size(); ++i) {
        print("{} {} as {}", i == 0 ? "" : ",", percent(state.savings.savings[i]),
              choice_text(state.savings.choices[i]));
    }
    print("\nabout {} layer evaluations, each of one layer for one window\n", n_expected);
}

// Those numbers of kept rows with which the plan found reaches a target of time too. It does with
// the one that it was searched with.
std::vector<int> kept_rows_in_time(const Run &run, const JointState &state) {
    std::vector<int> choices(static_cast<size_t>(run.settings.n_model_layers), -1);
    for (const JointMove &move : moves_of(state.order)) {
        choices[static_cast<size_t>(move.layer)] = move.choice;
    }
    std::vector<int> offered;
    for (int keep_last : run.arguments.keep_last) {
        if (run.settings.by_time && keep_last != run.settings.keep_last) {
            const double saved =
                time_saved(layer_times(run, state.savings.choices, keep_last), choices);
            if (saved < run.settings.target) {
                remark("note: keep_last {} is left out: with it {} of the prefill's time is saved",
                       keep_last, percent(saved));
                continue;
            }
        }
        offered.push_back(keep_last);
    }
    return offered;
}

// The rounds, and the plan that they lead to.
Plan search(const Run &run, JointState &state) {
    Progress progress("joint search", stderr, is_dumb_terminal());
    JointModelOptions model_options;
    model_options.choices = state.savings.choices;
    model_options.correction = run.settings.correction;
    model_options.n_kl_windows = run.settings.n_kl_windows;
    model_options.keep_last = run.settings.keep_last;
    model_options.inherits = run.settings.inherits;
    model_options.memory_bytes = int64_t{run.arguments.memory_mib} << 20;
    model_options.should_stop = run.should_stop;
    JointModel model(*run.inputs.engine, run.inputs.windows(), model_options);
    JointOptions options;
    options.layers = model.layers();
    options.savings = state.savings.savings;
    options.target = run.settings.target;
    options.n_again = run.settings.n_again;
    options.brute_force = run.settings.brute_force;
    options.done = state.order;
    options.should_stop = run.should_stop;
    // A round saves what a choice of the middle does, as a rule.
    const double per_round = state.savings.savings[state.savings.savings.size() / 2];
    const int64_t n_expected = model.expected_layer_evaluations(
        static_cast<int>(std::ceil(options.target / per_round)), options.n_again);
    if (run.prints) {
        print_task(run, state, n_expected);
    }
    options.on_measured = [&](const JointOrder &order) {
        const double fraction =
            static_cast<double>(order.n_layer_evaluations) / static_cast<double>(n_expected);
        const double divergence = order.rounds.empty() ? 0.0 : order.rounds.back().divergence;
        progress.update(
            std::min(0.99, fraction),
            fmt::format("{} saved, divergence {:.4f}", percent(saved_by(order)), divergence));
    };
    options.on_round = [&](const JointOrder &order) {
        state.order = order;
        write_joint_partial(run.settings, state, partial_path(run.arguments.out));
    };
    model.restore(moves_of(state.order));
    state.order = search_jointly(model, options);
    progress.finish();
    Plan plan = model.base();
    plan.provenance = joint_provenance(run.settings, state, plan.effective_sparsity());
    return with_best_keep_last(run.arguments, kept_rows_in_time(run, state), std::move(plan),
                               [&](const Plan &kept) { return model.divergence_of(kept); });
}

void print_rounds(const JointState &state) {
    print("{:>5}  {:>5}  {:>7}  {:>10}  {:>6}  {}\n", "round", "layer", "becomes", "divergence",
          "saved", "moves measured");
    for (size_t i = 0; i < state.order.rounds.size(); ++i) {
        const JointRound &round = state.order.rounds[i];
        const auto choice = static_cast<size_t>(round.move.choice);
        print("{:>5}  {:>5}  {:>7}  {:>10.4f}  {:>6}  {}\n", i + 1, round.move.layer,
              choice_text(state.savings.choices[choice]), round.divergence, percent(round.saved),
              round.n_measured);
    }
}

[[noreturn]] void fail_interrupted(const Run &run, const JointState &state) {
    if (state.order.rounds.empty()) {
        throw Interrupted("interrupted; nothing was finished yet");
    }
    throw Interrupted(fmt::format(
        "interrupted after {} finished rounds, kept in {}: the same command continues there",
        state.order.rounds.size(), partial_path(run.arguments.out)));
}

// The whole run: the plan with corrections fitted on all windows.
Plan find_plan(const Run &run, JointState &state) {
    try {
        state = start(run);
        Plan plan = search(run, state);
        plan.model_name = run.settings.model_name;
        plan.fingerprint = run.settings.fingerprint;
        plan.apply = run.settings.n_continuation > 0 || plan.needs_whole_prompt() ? Apply::prefill
                                                                                  : Apply::both;
        if (run.prints) {
            print_rounds(state);
        }
        return correct_plan(run.arguments, run.inputs, plan, run.should_stop);
    } catch (const Interrupted &) {
        fail_interrupted(run, state);
    }
}

}  // namespace

void add_joint_options(CLI::App &command, SelectLayersArguments &a) {
    command.add_flag("--joint", a.joint.is_wanted,
                     "decide layer by layer what it becomes, by the divergence from the dense "
                     "model, corrections included; with --sparsity or --target-time");
    command
        .add_option("--target-time", a.joint.target_time,
                    "with --joint: the part of the dense model's prefill time to arrive at, by "
                    "the times of layers on this machine")
        ->type_name("X");
    command
        .add_option("--choices", a.joint.choices,
                    "with --joint: what a layer may become: ratios of selecting layers, skip "
                    "(default: 0.5,0.333,0.2,skip; with --objective continuation "
                    "0.333,0.2,0.1,0.05,0)")
        ->delimiter(',')
        ->type_name("LIST");
    command
        .add_option("--kl-windows", a.joint.n_kl_windows,
                    "with --joint: so many windows measure the divergence, the others fit")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20))
        ->type_name("N");
    command
        .add_option("--moves", a.joint.n_moves,
                    "with --joint: moves measured in a round after the first, at most")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20))
        ->type_name("N");
}

void run_joint_search(const SelectLayersArguments &arguments, const Argv &argv,
                      const std::function<bool()> &should_stop) {
    check_joint_arguments(arguments);
    choices_of(arguments);  // what is wrong with them is said before the model is read
    const FileLock lock = lock_partial(partial_path(arguments.out));
    const SelectionInputs inputs = load_inputs(arguments, /*fits_corrections=*/true);
    const JointSettings settings = settings_of(arguments, inputs.settings);
    const Run run{arguments, settings, inputs, should_stop, prints_text(arguments)};
    JointState state;
    const Plan plan = find_plan(run, state);
    write_plan_files(plan, arguments.out);
    remove_partial(partial_path(arguments.out));
    if (run.prints) {
        print("effective sparsity {}; {} layer evaluations, {}; written: {}\n",
              percent(plan.effective_sparsity()), state.order.n_layer_evaluations,
              duration_text(state.order.seconds), arguments.out);
    }
    Json json = result_frame(argv, *inputs.model, inputs.engine.get());
    Json result = {{"plan", arguments.out}, {"provenance", plan.provenance}};
    result["search"] = {{"rounds", joint_order_json(state)},
                        {"n_layer_evaluations", state.order.n_layer_evaluations},
                        {"seconds", state.order.seconds}};
    json["results"] = Json::array({result});
    write_json(arguments.json, json);
}

}  // namespace orthorank
