#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "calibration/calibration.h"
#include "calibration/joint_files.h"
#include "calibration/selection_files.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/select_layers.h"
#include "cli/shared_options.h"
#include "engine/plan_files.h"
#include "model/backend_info.h"
#include "report/result_frame.h"
#include "select/sparsity.h"

namespace orthorank {

namespace {

LayerPlan change_of(const SelectLayersArguments &arguments) {
    LayerPlan change;
    if (arguments.convert == "skip") {
        change.action = Action::skip;
        return change;
    }
    if (arguments.convert != "select") {
        fail(ErrorKind::usage, "unknown --convert '{}' (known: skip, select)", arguments.convert);
    }
    change.action = Action::select;
    change.ratio = arguments.ratio;
    change.policy = policy_of(arguments, search_policy(arguments));
    return change;
}

std::optional<double> sparsity_of(const SelectLayersArguments &arguments) {
    if (arguments.sparsity.empty() == (arguments.n_layers == 0)) {
        fail(ErrorKind::usage, "say how many layers to choose: --sparsity 20% or --layers N");
    }
    if (arguments.sparsity.empty()) {
        return {};
    }
    return sparsity_from_text(arguments.sparsity);
}

// One run of select-layers on an engine: what its parts share.
struct Run {
    const SelectLayersArguments &arguments;
    const SelectionInputs &inputs;
    int n_layers;
    bool prints;
};

std::string loss_text(double loss, size_t n_windows) {
    const double nll = loss / static_cast<double>(n_windows);
    return fmt::format("{:.4f} (ppl {:.2f})", nll, std::exp(nll));
}

// Gradients need operations that not every device has.
void say_where_taylor_runs(const Run &run) {
    const std::string device = device_name(run.inputs.engine->model());
    if (run.inputs.settings.method == SelectionMethod::shortened_taylor && device != "CPU") {
        remark("note: Taylor scores are computed on the CPU, from the model's file, not on {}",
               device);
    }
}

// What Ctrl-C says once the rounds are done.
std::string kept_search(const Run &run) {
    return fmt::format("the finished search is kept in {}: the same command continues there",
                       partial_path(run.arguments.out));
}

std::string interrupted_search(const Run &run, bool brute_force, size_t n_rounds) {
    if (brute_force) {
        return fmt::format("interrupted in the comparison; the plan is written: {}",
                           run.arguments.out);
    }
    return n_rounds == 0 ? std::string("interrupted; nothing was finished yet")
                         : fmt::format(
                               "interrupted after {} finished rounds, kept in {}: the same "
                               "command continues there",
                               n_rounds, partial_path(run.arguments.out));
}

// The finished search is in the partial file, where it stays until the plan is written.
LayerOrder search(const Run &run, const LayerOrder &done, bool brute_force) {
    say_where_taylor_runs(run);
    const std::string partial = partial_path(run.arguments.out);
    Progress progress(brute_force ? "brute force" : "select-layers", stderr, is_dumb_terminal());
    LayerSelectionOptions options;
    options.method = run.inputs.settings.method;
    options.change = run.inputs.settings.change;
    options.n_layers = run.n_layers;
    options.plus = run.inputs.settings.plus;
    options.race = run.inputs.settings.race && !brute_force;
    options.keep_last = run.inputs.settings.keep_last;
    options.inherits = run.inputs.settings.inherits;
    options.brute_force = brute_force;
    options.budget_bytes = int64_t{run.arguments.memory_mib} << 20;
    options.done = done;
    options.should_stop = is_interrupted;
    options.on_progress = [&](double fraction, const LayerOrder &order) {
        const double loss = order.rounds.empty() ? order.dense_loss : order.rounds.back().loss;
        progress.update(fraction, fmt::format("{} layers, loss {}", order.rounds.size(),
                                              loss_text(loss, run.inputs.windows().size())));
    };
    size_t n_rounds = done.rounds.size();
    options.on_round = [&](const LayerOrder &order) {
        n_rounds = order.rounds.size();
        if (!brute_force) {
            write_partial(run.inputs.settings, order, partial);
        }
    };
    LayerOrder order;
    try {
        order = select_layers(*run.inputs.engine, run.inputs.windows(), options);
    } catch (const Interrupted &) {
        progress.finish();
        throw Interrupted(interrupted_search(run, brute_force, n_rounds));
    }
    if (!brute_force) {
        write_partial(run.inputs.settings, order, partial);
    }
    return order;
}

void print_order(const Run &run, const LayerOrder &order) {
    const bool is_sleb = run.inputs.settings.method == SelectionMethod::sleb;
    const bool is_score = run.inputs.settings.method == SelectionMethod::shortened_taylor;
    print("{:>5}  {:>5}  {}\n", "round", "layer",
          is_score  ? "Taylor score"
          : is_sleb ? "loss with all layers so far"
                    : "loss with this layer alone");
    for (size_t i = 0; i < order.rounds.size(); ++i) {
        const double loss = order.rounds[i].loss;
        print("{:>5}  {:>5}  {}{}\n", i + 1, order.rounds[i].layer,
              is_score ? fmt::format("{:.6g}", loss) : loss_text(loss, run.inputs.windows().size()),
              i + 1 == static_cast<size_t>(run.n_layers) ? "  <- this plan" : "");
    }
}

nlohmann::ordered_json order_json(const LayerOrder &order) {
    nlohmann::ordered_json json;
    json["order"] = nlohmann::ordered_json::array();
    json["losses"] = nlohmann::ordered_json::array();
    for (const SelectionRound &round : order.rounds) {
        json["order"].push_back(round.layer);
        json["losses"].push_back(round.loss);
    }
    json["n_layer_evaluations"] = order.n_layer_evaluations;
    json["seconds"] = order.seconds;
    return json;
}

bool is_same_order(const LayerOrder &a, const LayerOrder &b) {
    for (size_t i = 0; i < a.rounds.size() && i < b.rounds.size(); ++i) {
        if (a.rounds[i].layer != b.rounds[i].layer) {
            return false;
        }
    }
    return a.rounds.size() == b.rounds.size();
}

nlohmann::ordered_json compare_with_brute_force(const Run &run, const LayerOrder &order) {
    Run whole = run;
    if (run.inputs.settings.method == SelectionMethod::sleb) {
        whole.n_layers = static_cast<int>(order.rounds.size());  // an earlier run's may be more
    }
    const LayerOrder brute = search(whole, LayerOrder{}, /*brute_force=*/true);
    const double evaluations = static_cast<double>(brute.n_layer_evaluations) /
                               static_cast<double>(order.n_layer_evaluations);
    const double seconds = brute.seconds / order.seconds;
    const bool is_same = is_same_order(order, brute);
    if (run.prints) {
        print(
            "brute force: {} order; layer evaluations {} instead of {} ({:.2f}x), "
            "{:.1f} s instead of {:.1f} s ({:.2f}x)\n",
            is_same ? "the same" : "ANOTHER", brute.n_layer_evaluations, order.n_layer_evaluations,
            evaluations, brute.seconds, order.seconds, seconds);
    }
    nlohmann::ordered_json json = order_json(brute);
    json["is_same_order"] = is_same;
    json["evaluations_ratio"] = evaluations;
    json["seconds_ratio"] = seconds;
    return json;
}

double measured_loss(const Run &run, const Plan &plan) {
    double loss = 0;
    for (size_t w = 0; w < run.inputs.windows().size(); ++w) {
        stop_if_interrupted(kept_search(run));
        Sequence sequence = run.inputs.engine->new_sequence(plan, Apply::prefill);
        WindowStart start;
        start.n_continuation = run.inputs.windows().continuation_of(w);
        loss += window_nll(*run.inputs.engine, sequence, run.inputs.windows().window(w), start);
    }
    return loss;
}

void print_count(const Run &run, const LayerPlan &change, std::optional<double> sparsity) {
    const int n_model = run.inputs.settings.n_model_layers;
    const double saved = change.action == Action::skip ? 1.0 : 1.0 - change.ratio;
    print("{} of {} layers {}{}: effective sparsity {:.1f}%{}\n", run.n_layers, n_model,
          change.action == Action::skip ? "removed" : "selecting",
          change.action == Action::skip
              ? ""
              : fmt::format(" at ratio {} ({})", change.ratio, policy_name(change.policy)),
          100.0 * saved * run.n_layers / n_model,
          sparsity ? fmt::format(" ({:g}% asked for)", 100.0 * *sparsity) : "");
}

// The plan of a greedy or one-shot search of another size.
Plan resized(const Plan &from, std::optional<double> sparsity, int n_layers) {
    if (!sparsity) {
        return plan_from_recorded_order(from, n_layers);
    }
    Plan plan = plan_from_recorded_order(
        from, n_layers_for(*sparsity, recorded_change(from), from.n_layers()));
    plan.provenance["sparsity"] = *sparsity;
    return plan;
}

void derive(const SelectLayersArguments &arguments) {
    const Plan from = read_plan_files(arguments.from);
    const std::optional<double> sparsity = sparsity_of(arguments);
    if (is_joint_plan(from) && !sparsity) {
        fail(ErrorKind::usage,
             "{}: a joint search decides more than which layers come first: say --sparsity, not "
             "--layers",
             from.name);
    }
    const Plan plan = is_joint_plan(from) ? plan_from_recorded_rounds(from, *sparsity)
                                          : resized(from, sparsity, arguments.n_layers);
    write_plan_files(plan, arguments.out);
    if (prints_text(arguments)) {
        const auto n_changed =
            std::count_if(plan.layers.begin(), plan.layers.end(),
                          [](const LayerPlan &layer) { return layer.action != Action::dense; });
        print("{}: {} layers, effective sparsity {:.1f}%\n", arguments.out, n_changed,
              100.0 * plan.effective_sparsity());
    }
}

// Those of an earlier run that was interrupted.
LayerOrder finished_rounds(const Run &run) {
    const std::string partial = partial_path(run.arguments.out);
    LayerOrder done;
    if (run.arguments.restart) {
        remove_partial(partial);
    } else if (std::optional<LayerOrder> found = read_partial(run.inputs.settings, partial)) {
        done = std::move(*found);
        remark("continuing after {} finished rounds in {}", done.rounds.size(), partial);
    }
    return done;
}

Plan corrected(const Run &run, const Plan &plan) {
    try {
        return correct_plan(run.arguments, run.inputs, plan, is_interrupted);
    } catch (const Interrupted &) {
        throw Interrupted("interrupted while corrections were fitted; " + kept_search(run));
    }
}

void run_select_layers(const SelectLayersArguments &arguments, const Argv &argv) {
    catch_interrupts();
    if (!arguments.from.empty()) {
        derive(arguments);
        return;
    }
    if (!arguments.refit.empty()) {
        run_refit(arguments, argv, is_interrupted);
        return;
    }
    if (arguments.joint.is_wanted) {
        run_joint_search(arguments, argv, is_interrupted);
        return;
    }
    if (arguments.sweep) {
        run_layer_sweep(arguments, argv, is_interrupted);
        return;
    }
    const std::optional<double> sparsity = sparsity_of(arguments);
    const LayerPlan change = change_of(arguments);
    const FileLock lock = lock_partial(partial_path(arguments.out));
    SelectionInputs inputs = load_inputs(arguments, arguments.correct.has_value());
    inputs.settings.change = change;
    const int n_layers = sparsity ? n_layers_for(*sparsity, change, inputs.settings.n_model_layers)
                                  : arguments.n_layers;
    const Run run{arguments, inputs, n_layers, prints_text(arguments)};
    if (run.prints) {
        print_count(run, change, sparsity);
    }
    const LayerOrder order = search(run, finished_rounds(run), /*brute_force=*/false);
    Plan plan = plan_of_order(inputs.settings, order, n_layers, sparsity, {});
    if (inputs.settings.method != SelectionMethod::sleb) {
        plan = plan_of_order(inputs.settings, order, n_layers, sparsity, measured_loss(run, plan));
    }
    plan =
        with_best_keep_last(arguments, arguments.keep_last, std::move(plan), [&](const Plan &kept) {
            return measured_loss(run, kept) / static_cast<double>(inputs.windows().size());
        });
    if (arguments.correct) {
        plan = corrected(run, plan);
    }
    write_plan_files(plan, arguments.out);
    remove_partial(partial_path(arguments.out));
    if (run.prints) {
        print("dense loss {}\n", loss_text(order.dense_loss, inputs.windows().size()));
        print_order(run, order);
        print("{} layer evaluations, {}; written: {}\n", order.n_layer_evaluations,
              duration_text(order.seconds), arguments.out);
    }
    nlohmann::ordered_json json = result_frame(argv, *inputs.model, inputs.engine.get());
    json["results"] = nlohmann::ordered_json::array();
    nlohmann::ordered_json result = {{"plan", arguments.out}, {"provenance", plan.provenance}};
    result["search"] = order_json(order);
    if (arguments.brute_force) {
        result["brute_force"] = compare_with_brute_force(run, order);
    }
    json["results"].push_back(result);
    write_json(arguments.json, json);
}

}  // namespace

void add_select_layers(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "select-layers", "find the layers to remove or to make selecting, and write a plan");
    const auto arguments = std::make_shared<SelectLayersArguments>();
    SelectLayersArguments &a = *arguments;
    add_calibration_options(command, a);
    add_method_options(command, a);
    add_objective_options(command, a);
    add_correction_options(command, a);
    add_joint_options(command, a);
    command.add_option("-o,--output", a.out, "the plan file to write")->type_name(k_output_type);
    command
        .add_option(
            "--from", a.from,
            "take the order, or a joint search's rounds, from this plan: nothing is computed")
        ->type_name("PLAN");
    command.add_flag("--exact", a.exact, "drop a candidate only where provable (the default)");
    command.add_flag("--race", a.race,
                     "old bounds and a statistical test drop candidates: faster, not exact");
    command.add_flag("--brute-force", a.brute_force,
                     "search again without any saving, and compare orders and times");
    command.add_flag("--sweep", a.sweep,
                     "no search: the loss with each layer alone changed, for the policy, its "
                     "controls and removal");
    command.add_option("--csv", a.csv, "with --sweep: write a table")->type_name(k_output_type);
    command.add_option("--svg", a.svg, "with --sweep: write a plot")->type_name(k_output_type);
    command.add_flag("--restart", a.restart, "begin anew where a partial file of -o exists");
    command.add_option("--memory", a.memory_mib, "MiB for kept hidden states")
        ->capture_default_str()
        ->check(CLI::Range(0, 1 << 24))
        ->type_name("MIB");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &command, &argv] {
        arguments->has_policy = command.count("--policy") > 0;
        arguments->out = arguments->out == "-" ? "/dev/stdout" : arguments->out;
        check_arguments(command, *arguments);
        run_select_layers(*arguments, argv);
    });
}

}  // namespace orthorank
