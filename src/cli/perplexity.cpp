#include <fmt/format.h>

#include <memory>
#include <optional>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/apply_options.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/perplexity_report.h"
#include "cli/record_loss.h"
#include "cli/shared_options.h"
#include "evaluation/perplexity.h"
#include "evaluation/text_sets.h"
#include "model/vocab.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

struct PerplexityArguments : TextArguments {
    ModelArguments model;
    std::vector<std::string> plans;
    bool no_dense = false;
    bool with_kl = false;
    std::optional<std::string> beside;  // "exact" or a type of weights
    ApplyArguments apply;
    bool record = false;
    std::string json;
};

void check_arguments(const PerplexityArguments &arguments) {
    if (!arguments.protocol.empty() && arguments.protocol != "paper") {
        fail(ErrorKind::usage, "unknown protocol '{}' (known: paper)", arguments.protocol);
    }
    if (arguments.files.empty() == arguments.protocol.empty()) {
        fail(ErrorKind::usage, "name texts with --file, or give --protocol paper");
    }
    if (arguments.protocol.empty() != arguments.data_dir.empty()) {
        fail(ErrorKind::usage, "--protocol and --data belong together");
    }
    if (arguments.with_kl &&
        (arguments.no_dense || (arguments.plans.empty() && !arguments.beside))) {
        fail(ErrorKind::usage,
             "--kl compares plans with the dense model: name a --plan, without "
             "--no-dense");
    }
    if (arguments.beside && arguments.no_dense) {
        fail(ErrorKind::usage, "--beside measures the dense model: leave out --no-dense");
    }
    if (arguments.n_continuation >= arguments.n_ctx) {
        fail(ErrorKind::usage,
             "--continuation {} leaves no prompt in a window of {} tokens: give fewer, or a larger "
             "--ctx",
             arguments.n_continuation, arguments.n_ctx);
    }
    if (arguments.record) {
        if (arguments.plans.size() != 1 || is_by_sparsity(arguments.plans.front()) ||
            arguments.no_dense || arguments.beside) {
            fail(ErrorKind::usage,
                 "--record writes into the plan file what it costs beside the dense model: name "
                 "one --plan, without --no-dense and --beside");
        }
        if (arguments.apply.keep_last) {
            fail(ErrorKind::usage,
                 "--record writes what the plan costs as it is: --keep-last does not go with it");
        }
    }
}

// The plans as they are measured: for prompts, or for every row.
std::vector<Plan> plans_of(const PerplexityArguments &arguments, const Model &model) {
    const bool is_for_prompts = arguments.n_continuation > 0;
    std::vector<Plan> plans =
        read_plans(model, arguments.plans, !arguments.no_dense,
                   is_for_prompts ? PlanPurpose::prompt : PlanPurpose::every_row);
    for (Plan &plan : plans) {
        refuse_decode_plan(plan);
        plan = is_for_prompts ? arguments.apply.applied_to(std::move(plan))
                              : for_every_row(std::move(plan));
    }
    return plans;
}

std::vector<PerplexityResult> run_set(const TextSet &set, const PerplexityArguments &arguments,
                                      std::span<const PerplexityArm> arms) {
    Progress progress(set.name.empty() ? "perplexity" : set.name, stderr, is_dumb_terminal());
    progress.update(0.0);
    return perplexity(
        arms, set.windows,
        [&](size_t n_done, size_t n_all, std::span<const PerplexityResult> so_far) {
            stop_if_interrupted();
            std::string text;
            for (const PerplexityResult &result : so_far) {
                if (!result.window_nlls.empty()) {
                    text += fmt::format("{}{:.2f}", text.empty() ? "" : " ", result.ppl);
                }
            }
            progress.update(static_cast<double>(n_done) / static_cast<double>(n_all), text);
        },
        arguments.with_kl);
}

// The dense model as --beside has it: with ggml's kernels and, unless it says "exact", weights held
// in a type that it names.
ModelArguments beside_arguments(const PerplexityArguments &arguments) {
    ModelArguments model = arguments.model;
    model.kernels = "exact";
    if (arguments.beside != "exact") {
        model.weights = *arguments.beside;
    }
    return model;
}

// The engines of a run and what each measures, the arm that the others are compared with first.
class Arms {
 public:
    Arms(const Model &model, const PerplexityArguments &arguments, std::span<const Plan> plans)
        : engine_(make_engine(model, arguments.model, arguments.n_ctx)) {
        if (arguments.beside) {
            const ModelArguments other = beside_arguments(arguments);
            other_model_ = load_model(other);
            other_ = make_engine(*other_model_, other, arguments.n_ctx);
            Plan dense = plans.front();
            dense.name = fmt::format("dense, {}", *arguments.beside);
            arms_.push_back({other_.get(), std::move(dense)});
        }
        for (const Plan &plan : plans) {
            arms_.push_back({engine_.get(), plan});
        }
    }
    Engine &engine() { return *engine_; }
    std::span<const PerplexityArm> arms() const { return arms_; }

 private:
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<Model> other_model_;  // of --beside, as its engine
    std::unique_ptr<Engine> other_;
    std::vector<PerplexityArm> arms_;
};

void run_perplexity(const PerplexityArguments &arguments, const Argv &argv, CommandFiles files) {
    catch_interrupts();
    check_arguments(arguments);
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const bool has_dense = !arguments.no_dense;
    const std::vector<Plan> plans = plans_of(arguments, *model);
    const std::vector<TextSet> sets = read_text_sets(arguments, model->vocab());
    for (const TextSet &set : sets) {
        for (const std::string &file : set.files) {
            files.reads(file, set.name.empty() ? "--file" : set.name);
        }
    }
    if (arguments.record) {
        check_can_be_recorded(sets);
    }
    Arms arms(*model, arguments, plans);
    nlohmann::ordered_json json = result_frame(argv, *model, &arms.engine());
    if (arguments.protocol.empty()) {
        json["files"] = arguments.files;
    } else {
        json["sets"] = sets_json(sets);
    }
    json["results"] = nlohmann::ordered_json::array();
    std::vector<std::vector<PerplexityResult>> results_of_sets;
    for (const TextSet &set : sets) {
        results_of_sets.push_back(run_set(set, arguments, arms.arms()));
        const std::vector<PerplexityResult> &results = results_of_sets.back();
        for (const PerplexityResult &result : results) {
            json["results"].push_back(result_json(result, set, has_dense));
        }
        if (arguments.record) {
            record_loss(arguments.plans.front(), results.back(), set, *model);
        }
    }
    write_json(arguments.json, json);
    for (size_t i = 0; i < sets.size() && prints_text(arguments.json); ++i) {
        print_results(results_of_sets[i], sets[i], has_dense);
    }
}

}  // namespace

void add_perplexity(CLI::App &app, const Argv &argv) {
    CLI::App &command =
        *app.add_subcommand("perplexity", "perplexity of plans beside the dense model");
    const auto arguments = std::make_shared<PerplexityArguments>();
    PerplexityArguments &a = *arguments;
    command
        .add_option("-f,--file", a.files, "texts: raw, or JSON Lines (*.jsonl, *.ndjson, *.json)")
        ->type_name("FILE");
    command
        .add_option("--protocol", a.protocol,
                    "'paper': C4 and WikiText-2 as the OrthoRank paper takes them, from --data")
        ->type_name("NAME");
    command.add_option("--data", a.data_dir, "folder with the data sets' files")->type_name("DIR");
    command.add_flag("--kl", a.with_kl,
                     "how far each plan's distributions are from the dense ones");
    command
        .add_option("--beside", a.beside,
                    "first, what the others are compared with: the dense model with exact kernels "
                    "('exact'), or with those and its weights as a type such as f32")
        ->type_name("KIND");
    command.add_option("--field", a.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--plan", a.plans, "plan file to compare; may be given several times")
        ->type_name("FILE");
    add_sparsity_option(command, a.plans);
    command.add_flag(
        "--bos-each-window", a.bos_each_window,
        "begin each window with BOS (default: only the first of a text, if the model's "
        "texts begin with it)");
    command.add_flag("--no-dense", a.no_dense, "leave out the dense model");
    command.add_option("--ctx", a.n_ctx, "tokens in a window")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 30))
        ->type_name("N");
    command.add_option("--windows", a.n_windows, "the first N windows of each text (default: all)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command
        .add_option("--continuation", a.n_continuation,
                    "score the last N tokens of each window, computed densely behind a prompt "
                    "under the plan (default: score all, all under the plan)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    add_keep_last_option(command, a.apply);
    command.add_flag("--record", a.record, "write the ratio to dense into the plan file");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &command, &argv] {
        refuse_idle(command, arguments->n_continuation == 0, {"--keep-last"},
                    "without --continuation every row is scored");
        refuse_idle(command, !arguments->protocol.empty(), {"--field", "--bos-each-window"},
                    "--protocol knows its texts");
        refuse_idle_field(command, arguments->files);
        run_perplexity(*arguments, argv, CommandFiles(command));
    });
}

}  // namespace orthorank
