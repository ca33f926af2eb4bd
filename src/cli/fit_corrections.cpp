// select-layers --correct and --refit: fitting and what is printed of it.
#include "calibration/fit_corrections.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "calibration/descriptions.h"
#include "calibration/kept_rows.h"
#include "cli/environment.h"
#include "cli/select_layers.h"
#include "engine/plan_files.h"
#include "report/result_frame.h"
#include "select/plan_format.h"

namespace orthorank {

namespace {

constexpr const char *k_probe = "probe";

CorrectionOptions correction_options(const SelectLayersArguments &arguments) {
    CorrectionOptions options;
    options.rank = arguments.correct.value_or(options.rank);
    options.ridge = arguments.ridge.value_or(options.ridge);
    options.attention_part = arguments.weigh;
    return options;
}

// Rows that are picked once are as many in every layer.
void check_one_ratio(const Plan &plan) {
    const std::vector<int> layers = plan.layers_with(Action::select);
    for (int il : layers) {
        const double ratio = plan.layers[static_cast<size_t>(il)].ratio;
        const double first = plan.layers[static_cast<size_t>(layers.front())].ratio;
        if (ratio != first) {
            fail(ErrorKind::usage,
                 "--inherit picks rows once, for all layers: {} has ratio {} in layer {} and {} in "
                 "layer {}; make them one",
                 plan.name, first, layers.front(), ratio, il);
        }
    }
}

// What says which rows a layer computes. Before with_policy(), which would pass over it.
void check_has_rows_to_pick(const SelectLayersArguments &arguments, const Plan &plan) {
    const std::array<std::pair<const char *, bool>, 3> given = {
        {{"--policy", arguments.has_policy},
         {"--inherit", arguments.inherits},
         {"--keep-last", !arguments.keep_last.empty()}}};
    const bool only_removes =
        plan.layers_with(Action::select).empty() && !plan.layers_with(Action::skip).empty();
    for (const auto &[option, is_given] : given) {
        if (only_removes && is_given) {
            fail(ErrorKind::usage,
                 "{} does nothing: a removed layer computes no row, and {} has no others", option,
                 plan.name);
        }
    }
}

// The plan whose selecting layers have the policy that --policy says; what was fitted for another
// one goes.
Plan with_policy(const SelectLayersArguments &arguments, Plan plan) {
    plan.losses.clear();  // they were another fit's
    for (LayerPlan &layer : plan.layers) {
        layer.correction = nullptr;
        layer.probe = nullptr;
        if (arguments.has_policy && layer.action == Action::select &&
            layer.policy.score != ScoreKind::inherit) {
            layer.policy = policy_of(arguments, arguments.policy);
        }
    }
    if (arguments.inherits) {
        check_one_ratio(plan);
        plan = with_inherited_rows(std::move(plan));
    }
    plan.apply = plan.needs_whole_prompt() ? Apply::prefill : plan.apply;
    return plan;
}

void print_fit(const RecordedFit &fit) {
    print(
        "{:>5}  {:>19}  {}\n", fit.layer, fmt::format("{:.1f}%", 100.0 * fit.explained),
        std::isnan(fit.r_squared) ? std::string() : fmt::format("{:.1f}%", 100.0 * fit.r_squared));
}

}  // namespace

std::string search_policy(const SelectLayersArguments &arguments) {
    return arguments.policy == k_probe ? "orthogonal" : arguments.policy;
}

Plan correct_plan(const SelectLayersArguments &arguments, const SelectionInputs &inputs,
                  const Plan &plan, const std::function<bool()> &should_stop) {
    const bool prints = prints_text(arguments);
    const Stopwatch watch;
    Progress progress("corrections", stderr, is_dumb_terminal());
    std::vector<RecordedFit> fits;
    FitOptions options;
    options.correction = correction_options(arguments);
    options.budget_bytes = int64_t{arguments.memory_mib} << 20;
    options.should_stop = should_stop;
    options.on_progress = [&](double fraction) { progress.update(fraction); };
    options.on_layer = [&](int layer, const LayerFit &fit) {
        fits.push_back({layer, fit.explained, fit.r_squared});
    };
    if (prints) {
        print("corrections of rank {}, ridge {:g}\n", options.correction.rank,
              options.correction.ridge);
    }
    Plan fitted =
        fit_corrections(*inputs.engine, inputs.windows(), with_policy(arguments, plan), options);
    progress.finish();
    record_corrections(fitted, options.correction, inputs.settings, fits);
    if (prints) {
        print("{:>5}  {:>19}  {}\n", "layer", "difference explained",
              "gain explained by the probe");
        for (const RecordedFit &fit : fits) {
            print_fit(fit);
        }
        print("fitted in {}\n", duration_text(watch.elapsed_s()));
    }
    return fitted;
}

void run_refit(const SelectLayersArguments &arguments, const Argv &argv,
               const std::function<bool()> &should_stop) {
    // Its numbers are made anew: there need be none. What is wrong with it is said before the model
    // is read.
    Plan plan = read_plan_head(arguments.refit);
    check_has_rows_to_pick(arguments, plan);
    plan = with_policy(arguments, std::move(plan));
    if (!arguments.keep_last.empty() && arguments.keep_last.front() != plan.keep_last) {
        keep_other_rows(plan, arguments.keep_last.front());
        forget_costs(plan);
    }
    if (arguments.inherits && plan.provenance.is_object()) {
        describe_inheritance(plan.provenance, true);
        forget_costs(plan);
    }
    check_kept_rows(plan, ErrorKind::usage, plan.name);
    if (!plan.layers_with(Action::select).empty()) {
        check_leaves_rows(arguments, plan.keep_last);
    }
    const SelectionInputs inputs = load_inputs(arguments, /*fits_corrections=*/true);
    const Hparams &hparams = inputs.model->hparams();
    check_plan_fits(plan, hparams.n_layers, hparams.n_embd, inputs.model->fingerprint(),
                    hparams.name);
    Plan fitted;
    try {
        fitted = correct_plan(arguments, inputs, plan, should_stop);
    } catch (const Interrupted &) {
        throw Interrupted("interrupted; nothing was written");
    }
    write_plan_files(fitted, arguments.out);
    if (prints_text(arguments)) {
        print("written: {}\n", arguments.out);
    }
    nlohmann::ordered_json json = result_frame(argv, *inputs.model, inputs.engine.get());
    json["results"] = nlohmann::ordered_json::array();
    json["results"].push_back({{"plan", arguments.out}, {"provenance", fitted.provenance}});
    write_json(arguments.json, json);
}

}  // namespace orthorank
