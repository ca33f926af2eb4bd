#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "base/output_file.h"
#include "base/progress.h"
#include "base/strings.h"
#include "cli/apply_options.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/eval_passkey.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "eval/text.h"
#include "evaluation/evaluate.h"
#include "model/vocab.h"
#include "report/comparison_table.h"
#include "report/numbers_text.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

struct EvalArguments {
    ModelArguments model;
    std::string tasks;
    TaskSelection selection;
    size_t limit = 0;
    std::vector<std::string> plans;
    bool no_dense = false;
    std::string samples;
    std::string markdown;
    int n_ctx = 0;
    int n_parallel = 16;
    bool no_sharing = false;
    ApplyArguments apply;
    PasskeyArguments passkey;
    std::string json;
};

// The one task whose documents the program makes.
bool is_passkey(const EvalArguments &arguments) {
    return arguments.tasks == k_passkey;
}

// "five" stands for the paper's five tasks, "all" for every one.
std::vector<std::string> task_list(const std::string &text) {
    std::vector<std::string> names;
    for (const std::string &part : split_at(text, ',')) {
        const std::string name(strip(part));
        const std::vector<std::string> added = name == "five"  ? five_task_names()
                                               : name == "all" ? task_names()
                                                               : std::vector<std::string>{name};
        for (const std::string &task : added) {
            is_generation_task(task);  // throws for an unknown one, before the model is loaded
            if (std::find(names.begin(), names.end(), task) == names.end()) {
                names.push_back(task);
            }
        }
    }
    return names;
}

std::vector<EvalTask> read_tasks(const EvalArguments &arguments, const Model &model) {
    TaskSelection selection = arguments.selection;
    if (arguments.limit > 0) {
        selection.limit = arguments.limit;
    }
    const int n_ctx = arguments.n_ctx > 0 ? arguments.n_ctx : model.hparams().n_ctx_train;
    std::vector<EvalTask> tasks;
    for (const std::string &name : task_list(arguments.tasks)) {
        tasks.push_back(read_eval_task(name, selection, model.vocab(), static_cast<size_t>(n_ctx)));
    }
    return tasks;
}

// What the samples depend on.
nlohmann::ordered_json run_of(const EvalArguments &arguments, const Model &model,
                              std::span<const Plan> plans, std::span<const EvalTask> tasks) {
    nlohmann::ordered_json run = run_identity(model, arguments.model);
    run["parallel"] = arguments.n_parallel;
    run["sharing"] = !arguments.no_sharing;
    for (const EvalTask &task : tasks) {
        run[k_documents_field + task.name] = task.hash;
    }
    for (const Plan &plan : plans) {
        run[k_plan_field + plan.name] = plan_identity(plan);
    }
    return run;
}

void say_ignored_rows(std::span<const EvalTask> tasks, std::span<const Plan> plans) {
    for (const Plan &plan : plans) {
        const auto ignores = [&](const EvalTask &task) { return ignores_kept_rows(task, plan); };
        if (std::any_of(tasks.begin(), tasks.end(), ignores)) {
            say_without_kept_rows(plan);
        }
    }
}

nlohmann::ordered_json estimate_json(const Estimate &estimate) {
    return {{"value", estimate.mean}, {"se", estimate.standard_error}};
}

// The difference to dense is null for dense itself, and without it.
void add_difference(nlohmann::ordered_json &json, const Estimate &difference, bool is_there) {
    json["difference"] = nullptr;
    json["difference_se"] = nullptr;
    if (is_there) {
        json["difference"] = difference.mean;
        json["difference_se"] = difference.standard_error;
    }
}

nlohmann::ordered_json score_json(const EvalTask &task, const Plan &plan, const EvalScore &score,
                                  bool has_dense) {
    nlohmann::ordered_json json;
    json["task"] = task.name;
    json["plan"] = plan_name_json(plan);
    json["effective_sparsity"] = plan.effective_sparsity();
    json["metric"] = metric_name(task.metric);
    json["n_docs"] = task.size();
    json["value"] = score.value.mean;
    json["se"] = score.value.standard_error;
    add_difference(json, score.difference, has_dense && score.plan > 0);
    json["metrics"] = nlohmann::ordered_json::object();
    for (const auto &[name, estimate] : score.others) {
        json["metrics"][name] = estimate_json(estimate);
    }
    return json;
}

nlohmann::ordered_json mean_json(const Plan &plan, const FiveTaskMean &mean, bool is_different) {
    nlohmann::ordered_json json;
    json["task"] = "mean of five";
    json["plan"] = plan_name_json(plan);
    json["effective_sparsity"] = plan.effective_sparsity();
    json["metric"] = "mean";
    json["n_docs"] = mean.value.n;
    json["value"] = mean.value.mean;
    json["se"] = mean.value.standard_error;
    add_difference(json, mean.difference, is_different);
    return json;
}

// BLEU is 0..100 already, all others are shown in per cent.
double shown_factor(const EvalTask &task) {
    return task.metric == Metric::bleu_max ? 1.0 : 100.0;
}

std::string cell(const Estimate &estimate, double factor) {
    return with_error(factor * estimate.mean, factor * estimate.standard_error, 2);
}

ComparisonTable table_of(std::span<const EvalTask> tasks, std::span<const Plan> plans,
                         std::span<const EvalScore> scores, std::span<const FiveTaskMean> means,
                         bool has_dense) {
    ComparisonTable table;
    table.header = {"plan", "sparsity"};
    for (const EvalTask &task : tasks) {
        table.header.push_back(task.name);
    }
    if (!means.empty()) {
        table.header.push_back("mean of five");
    }
    for (size_t p = 0; p < plans.size(); ++p) {
        std::vector<std::string> row = {
            plans[p].name, fmt::format("{:.1f}%", 100.0 * plans[p].effective_sparsity())};
        std::vector<std::string> differences = {"  - dense", ""};
        for (size_t t = 0; t < tasks.size(); ++t) {
            const EvalScore &score = scores[t * plans.size() + p];
            row.push_back(cell(score.value, shown_factor(tasks[t])));
            differences.push_back(cell(score.difference, shown_factor(tasks[t])));
        }
        if (!means.empty()) {
            row.push_back(cell(means[p].value, 100.0));
            differences.push_back(cell(means[p].difference, 100.0));
        }
        table.rows.push_back(row);
        if (has_dense && p > 0) {
            table.rows.push_back(differences);
        }
    }
    return table;
}

nlohmann::ordered_json tasks_json(std::span<const EvalTask> tasks) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const EvalTask &task : tasks) {
        json.push_back({{"task", task.name}, {"files", task.files}, {"n_docs", task.size()}});
    }
    return json;
}

std::vector<EvalScore> run_tasks(const EvalArguments &arguments, Engine &engine,
                                 std::span<const EvalTask> tasks, std::span<const Plan> plans,
                                 SampleLog &log) {
    Progress progress("eval", stderr, is_dumb_terminal());
    progress.update(0.0);
    EvalOptions options;
    options.n_parallel = static_cast<size_t>(arguments.n_parallel);
    options.choices.shares_context = !arguments.no_sharing;
    const std::string kept =
        arguments.samples.empty()
            ? std::string("nothing was written (--samples FILE keeps what is finished)")
            : fmt::format("finished samples are kept in {}: the same command continues there",
                          arguments.samples);
    catch_interrupts();
    options.on_progress = [&](size_t n_done, size_t n_all, const std::string &task) {
        stop_if_interrupted(kept);
        progress.update(static_cast<double>(n_done) / static_cast<double>(n_all), task);
    };
    return evaluate(engine, tasks, plans, log, options);
}

void run_eval(const EvalArguments &arguments, const Argv &argv, CommandFiles files) {
    if (!arguments.samples.empty()) {
        if (!becomes_file(arguments.samples)) {
            fail(ErrorKind::usage, "--samples {}: an interrupted run goes on with it: name a file",
                 arguments.samples);
        }
        files.writes(arguments.samples + ".run.json", "what --samples was made by");
    }
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const bool has_dense = !arguments.no_dense;
    const std::vector<Plan> plans =
        read_scored_plans(*model, arguments.plans, has_dense, arguments.apply,
                          is_passkey(arguments) ? PlanPurpose::prompt : PlanPurpose::every_row);
    if (is_passkey(arguments)) {
        run_passkey_task(arguments.passkey, arguments.model, *model, plans, has_dense,
                         arguments.json, argv);
        return;
    }
    const std::vector<EvalTask> tasks = read_tasks(arguments, *model);
    say_ignored_rows(tasks, plans);
    for (const EvalTask &task : tasks) {
        for (const std::string &file : task.files) {
            files.reads(file, task.name);
        }
    }
    SampleLog log;
    if (!arguments.samples.empty()) {
        log = SampleLog(arguments.samples, run_of(arguments, *model, plans, tasks));
    }
    if (log.n_resumed() > 0) {
        remark("{}: going on after {} samples", arguments.samples, log.n_resumed());
    }
    const std::unique_ptr<Engine> engine = make_engine(*model, arguments.model, eval_context(tasks),
                                                       eval_sequences(tasks, arguments.n_parallel));
    const std::vector<EvalScore> scores = run_tasks(arguments, *engine, tasks, plans, log);
    const std::vector<FiveTaskMean> means = five_task_means(tasks, plans.size(), scores);

    nlohmann::ordered_json json = result_frame(argv, *model, engine.get());
    json["tasks"] = tasks_json(tasks);
    json["results"] = nlohmann::ordered_json::array();
    for (const EvalScore &score : scores) {
        json["results"].push_back(
            score_json(tasks[score.task], plans[score.plan], score, has_dense));
    }
    for (size_t p = 0; p < means.size(); ++p) {
        json["results"].push_back(mean_json(plans[p], means[p], has_dense && p > 0));
    }
    const ComparisonTable table = table_of(tasks, plans, scores, means, has_dense);
    write_output(arguments.markdown, markdown_text(table));
    write_json(arguments.json, json);
    if (prints_text(arguments.json) && prints_text(arguments.markdown)) {
        print_text(plain_text(table));
    }
}

void add_document_options(CLI::App &command, EvalArguments &a) {
    command
        .add_option("--tasks", a.tasks,
                    "tasks, parted by commas; 'five': the paper's five, 'all'; or 'passkey' alone")
        ->required()
        ->type_name("NAMES");
    command.add_option("--data", a.selection.data_dir, "folder with the data sets' files")
        ->type_name("DIR");
    command.add_option("--limit", a.limit, "the first N documents of each task")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command.add_option("--docs", a.selection.docs, "these documents by index, such as 3,17,20-25")
        ->type_name("LIST");
}

}  // namespace

void add_eval(CLI::App &app, const Argv &argv) {
    CLI::App &command =
        *app.add_subcommand("eval", "zero-shot tasks and TruthfulQA, plans beside the dense model");
    const auto arguments = std::make_shared<EvalArguments>();
    EvalArguments &a = *arguments;
    add_document_options(command, a);
    command.add_option("--plan", a.plans, "plan file to compare; may be given several times")
        ->type_name("FILE");
    add_sparsity_option(command, a.plans);
    command.add_flag("--no-dense", a.no_dense, "leave out the dense model");
    command
        .add_option("--samples", a.samples,
                    "keep a JSON line for each document and plan; go on with what is there")
        ->type_name(k_output_type);
    command.add_option("--markdown", a.markdown, "write the table as Markdown ('-': to stdout)")
        ->type_name(k_output_type);
    command.add_option("--ctx", a.n_ctx, "tokens that a document may have (default: the model's)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command.add_option("--parallel", a.n_parallel, "choices or answers computed at once")
        ->capture_default_str()
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
    command.add_flag("--no-sharing", a.no_sharing, "run every choice under every plan alone");
    add_scoring_apply_options(command, a.apply);
    add_passkey_options(command, a.passkey);
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &command, &argv] {
        if (is_passkey(*arguments)) {
            refuse_idle(command, true,
                        {"--data", "--limit", "--docs", "--samples", "--markdown", "--ctx",
                         "--parallel", "--no-sharing"},
                        "the program makes the documents of passkey");
            if (arguments->passkey.text.empty()) {
                fail(ErrorKind::usage, "passkey: name a text for its prompts with --text");
            }
            refuse_idle_field(command, {arguments->passkey.text});
            run_eval(*arguments, argv, CommandFiles(command));
            return;
        }
        refuse_idle(command, true,
                    {"--text", "--field", "--lengths", "--depths", "--count", "--seed"},
                    "it goes with --tasks passkey");
        if (arguments->selection.data_dir.empty()) {
            fail(ErrorKind::usage, "name the folder of the data sets with --data");
        }
        const std::vector<std::string> tasks = task_list(arguments->tasks);
        refuse_idle(command, std::all_of(tasks.begin(), tasks.end(), is_generation_task),
                    {"--no-sharing"}, "no task has choices");
        run_eval(*arguments, argv, CommandFiles(command));
    });
}

}  // namespace orthorank
