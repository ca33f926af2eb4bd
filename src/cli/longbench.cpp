#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/strings.h"
#include "cli/apply_options.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "eval/longbench_scores.h"
#include "eval/scoring.h"
#include "eval/text.h"
#include "evaluation/longbench_run.h"
#include "model/vocab.h"
#include "report/comparison_table.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

struct LongBenchArguments {
    ModelArguments model;
    std::string sets;
    LongBenchOptions options;
    size_t limit = 0;
    std::string output;
    std::vector<std::string> plans;
    bool no_dense = false;
    ApplyArguments apply;
    std::vector<std::string> score;
    bool with_levenshtein = false;
    std::string json;
};

Similarity similarity_of(const LongBenchArguments &arguments) {
    return arguments.with_levenshtein ? Similarity::levenshtein : Similarity::difflib;
}

void check_arguments(const LongBenchArguments &arguments) {
    if (arguments.score.empty() == arguments.sets.empty()) {
        fail(ErrorKind::usage, "name sets to run with --sets, or files to score with --score");
    }
    if (!arguments.sets.empty() &&
        (arguments.options.data_dir.empty() || arguments.output.empty())) {
        fail(ErrorKind::usage, "--sets needs --data and --output");
    }
}

// Throws for an unknown set before the model is loaded, and where no set asks for --levenshtein.
void check_sets(const LongBenchArguments &arguments) {
    bool has_code = arguments.sets == "all";
    const auto look_at = [&](std::string_view name) {
        has_code = longbench_set(name).metric == LongBenchMetric::code || has_code;
    };
    if (!arguments.sets.empty() && arguments.sets != "all") {
        for (const std::string &name : split_at(arguments.sets, ',')) {
            look_at(strip(name));
        }
    }
    for (const std::string &path : arguments.score) {
        look_at(std::filesystem::path(path).stem().string());
    }
    if (arguments.with_levenshtein && !has_code) {
        fail(ErrorKind::usage, "--levenshtein does nothing: no set is scored by code similarity");
    }
}

// ---- scoring of files, which needs no model

void score_files(const LongBenchArguments &arguments, const Argv &argv) {
    json result;
    result["command"] = argv;
    result["results"] = json::array();
    ComparisonTable table;
    table.header = {"file", "records", "score"};
    for (const std::string &path : arguments.score) {
        const LongBenchSet &set = longbench_set(std::filesystem::path(path).stem().string());
        const std::vector<Prediction> predictions = read_predictions_of(set, path);
        const double score = longbench_set_score(set, predictions, similarity_of(arguments));
        result["results"].push_back({{"set", set.name},
                                     {"file", path},
                                     {"n_records", predictions.size()},
                                     {"is_complete", predictions.size() == set.n_records},
                                     {"score", score}});
        table.rows.push_back({path, fmt::format("{} of {}", predictions.size(), set.n_records),
                              fmt::format("{:.2f}", score)});
    }
    write_json(arguments.json, result);
    if (prints_text(arguments.json)) {
        print_text(plain_text(table));
    }
}

// ---- running

// Named sets must have data; of "all" those without are left out, and said so.
std::vector<LongBenchTask> read_tasks(const LongBenchArguments &arguments, const Model &model,
                                      const LongBenchOptions &options) {
    const int n_ctx = model.hparams().n_ctx_train;
    std::vector<LongBenchTask> tasks;
    if (arguments.sets != "all") {
        for (const std::string &name : split_at(arguments.sets, ',')) {
            tasks.push_back(
                read_longbench_task(longbench_set(strip(name)), options, model.vocab(), n_ctx));
        }
        return tasks;
    }
    std::string missing;
    for (const LongBenchSet &set : longbench_sets()) {
        try {
            tasks.push_back(read_longbench_task(set, options, model.vocab(), n_ctx));
        } catch (const Error &error) {
            if (error.kind() != ErrorKind::file) {
                throw;
            }
            missing += fmt::format("{}{}", missing.empty() ? "" : ", ", set.name);
        }
    }
    if (tasks.empty()) {
        fail(ErrorKind::file, "{} has no LongBench set (wanted: longbench/NAME.jsonl for {})",
             options.data_dir, missing);
    }
    if (!missing.empty()) {
        remark("left out, no data in {}: {}", options.data_dir, missing);
    }
    return tasks;
}

json run_of(const Model &model, const LongBenchArguments &arguments,
            const LongBenchOptions &options, int n_ctx) {
    json run = run_identity(model, arguments.model);
    run["max_length"] = options.max_length;
    run["cleans_spaces"] = options.cleans_spaces;
    // Phi 3's rotation in long contexts is another one, and the longest prompt decides for all.
    if (model.weights().layers.front().rope_long != nullptr) {
        run["long_rotation"] = n_ctx > model.hparams().layers.front().rotation.n_ctx_orig;
    }
    return run;
}

std::string records_text(const LongBenchTask &task) {
    return task.data.is_complete
               ? fmt::format("{}", task.prompts.size())
               : fmt::format("{} of {}", task.prompts.size(), task.set->n_records);
}

// A plan's score on a set, and what it has more than the dense model, record by record.
struct SetScore {
    double score = 0;
    std::optional<Estimate> difference;
};

std::vector<double> record_scores(const LongBenchSet &set,
                                  const std::vector<Prediction> &predictions, Similarity kind) {
    std::vector<double> scores;
    for (const Prediction &prediction : predictions) {
        scores.push_back(100.0 * longbench_score(set, prediction, kind));
    }
    return scores;
}

// By set, then plan. The first plan is the dense one, or no difference is wanted.
std::vector<SetScore> scores_of(std::span<const LongBenchTask> tasks, size_t n_plans,
                                std::span<const std::vector<Prediction>> predictions,
                                Similarity kind, bool has_dense) {
    std::vector<SetScore> scores;
    for (size_t a = 0; a < predictions.size(); ++a) {
        const LongBenchSet &set = *tasks[a / n_plans].set;
        scores.push_back({longbench_set_score(set, predictions[a], kind), std::nullopt});
        if (has_dense && a % n_plans > 0) {
            const auto &dense = predictions[a - a % n_plans];
            scores.back().difference = estimate_paired_difference(
                record_scores(set, predictions[a], kind), record_scores(set, dense, kind));
        }
    }
    return scores;
}

std::string score_text(const SetScore &score) {
    return score.difference ? fmt::format("{:.2f} ({:+.2f} ± {:.2f})", score.score,
                                          score.difference->mean, score.difference->standard_error)
                            : fmt::format("{:.2f}", score.score);
}

void print_scores(std::span<const LongBenchTask> tasks, std::span<const Plan> plans,
                  std::span<const SetScore> scores, size_t max_length) {
    print("prompts of at most {} tokens, the middle cut out; no chat template\n", max_length);
    ComparisonTable table;
    table.header = {"set", "records", "cut"};
    for (const Plan &plan : plans) {
        table.header.push_back(plan.name);
    }
    std::vector<double> sums(plans.size(), 0.0);
    for (size_t t = 0; t < tasks.size(); ++t) {
        table.rows.push_back({std::string(tasks[t].set->name), records_text(tasks[t]),
                              fmt::format("{}", tasks[t].n_cut)});
        for (size_t p = 0; p < plans.size(); ++p) {
            const SetScore &score = scores[t * plans.size() + p];
            sums[p] += score.score;
            table.rows.back().push_back(score_text(score));
        }
    }
    table.rows.push_back({"mean", "", ""});
    for (const double sum : sums) {
        table.rows.back().push_back(fmt::format("{:.2f}", sum / static_cast<double>(tasks.size())));
    }
    print_text(plain_text(table));
}

json result_json(const LongBenchTask &task, const Plan &plan, const SetScore &score,
                 const std::string &file) {
    json difference = nullptr;
    json difference_se = nullptr;
    if (score.difference) {
        difference = score.difference->mean;
        difference_se = score.difference->standard_error;
    }
    return {{"set", task.set->name},
            {"plan", plan_name_json(plan)},
            {"effective_sparsity", plan.effective_sparsity()},
            {"n_records", task.prompts.size()},
            {"is_complete", task.data.is_complete},
            {"n_cut", task.n_cut},
            {"score", score.score},
            {"difference", difference},
            {"difference_se", difference_se},
            {"predictions", file}};
}

std::vector<std::vector<Prediction>> predict(const LongBenchArguments &arguments, Engine &engine,
                                             std::span<const LongBenchTask> tasks,
                                             std::span<const Plan> plans, const json &made_by) {
    Progress progress("longbench", stderr, is_dumb_terminal());
    progress.update(0.0);
    LongBenchRun run;
    run.output_dir = arguments.output;
    run.run = made_by;
    run.cleans_spaces = arguments.options.cleans_spaces;
    catch_interrupts();
    run.on_progress = [&](size_t n_done, size_t n_all, std::string_view set) {
        stop_if_interrupted("the finished predictions are kept: the same command continues");
        progress.update(static_cast<double>(n_done) / static_cast<double>(n_all), set);
    };
    return run_longbench(engine, tasks, plans, run);
}

void run_sets(const LongBenchArguments &arguments, const Argv &argv, CommandFiles files) {
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const std::vector<Plan> plans =
        read_scored_plans(*model, arguments.plans, !arguments.no_dense, arguments.apply);
    LongBenchOptions options = arguments.options;
    if (options.max_length == 0) {
        options.max_length = default_max_length(model->hparams().n_ctx_train);
    }
    if (arguments.limit > 0) {
        options.limit = arguments.limit;
    }
    const std::vector<LongBenchTask> tasks = read_tasks(arguments, *model, options);
    for (const LongBenchTask &task : tasks) {
        files.reads(task.data.file, std::string(task.set->name));
    }
    for (size_t a = 0; a < tasks.size() * plans.size(); ++a) {
        const Plan &plan = plans[a % plans.size()];
        const LongBenchSet &set = *tasks[a / plans.size()].set;
        make_prediction_folder(arguments.output, plan);
        files.writes(prediction_path(arguments.output, plan, set),
                     fmt::format("the predictions of {}", plan.name));
    }
    const std::unique_ptr<Engine> engine =
        make_engine(*model, arguments.model, longbench_context(tasks));
    const std::vector<std::vector<Prediction>> predictions = predict(
        arguments, *engine, tasks, plans, run_of(*model, arguments, options, engine->n_ctx()));

    json result = result_frame(argv, *model, engine.get());
    result["max_length"] = options.max_length;
    result["results"] = json::array();
    const std::vector<SetScore> scores =
        scores_of(tasks, plans.size(), predictions, similarity_of(arguments), !arguments.no_dense);
    for (size_t a = 0; a < scores.size(); ++a) {
        const LongBenchTask &task = tasks[a / plans.size()];
        const Plan &plan = plans[a % plans.size()];
        result["results"].push_back(
            result_json(task, plan, scores[a], prediction_path(arguments.output, plan, *task.set)));
    }
    write_json(arguments.json, result);
    if (prints_text(arguments.json)) {
        print_scores(tasks, plans, scores, options.max_length);
    }
}

void run_longbench_command(const LongBenchArguments &arguments, const Argv &argv,
                           const CommandFiles &files) {
    check_arguments(arguments);
    check_sets(arguments);
    if (arguments.score.empty()) {
        run_sets(arguments, argv, files);
    } else {
        score_files(arguments, argv);
    }
}

}  // namespace

void add_longbench(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "longbench", "LongBench: predictions of plans beside the dense model, and their scores");
    const auto arguments = std::make_shared<LongBenchArguments>();
    LongBenchArguments &a = *arguments;
    command.add_option("--sets", a.sets, "sets, parted by commas; 'all': those there is data for")
        ->type_name("NAMES");
    command.add_option("--data", a.options.data_dir, "folder with the sets' files")
        ->type_name("DIR");
    command.add_option("--output", a.output, "predictions go to DIR/PLAN/SET.jsonl")
        ->type_name("DIR");
    command
        .add_option("--max-length", a.options.max_length,
                    "tokens of a prompt; what is beyond is cut out of its middle (default: 7500 "
                    "for a context of 8192, and so on)")
        ->check(CLI::Range(2, 1 << 30))
        ->type_name("N");
    command.add_option("--limit", a.limit, "the first N records of each set")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command.add_flag("--clean-spaces", a.options.cleans_spaces,
                     "decode as tokenizers with clean_up_tokenization_spaces do (Llama 3)");
    command.add_option("--plan", a.plans, "plan file to compare; may be given several times")
        ->type_name("FILE");
    add_sparsity_option(command, a.plans);
    add_scoring_apply_options(command, a.apply);
    command.add_flag("--no-dense", a.no_dense, "leave out the dense model");
    command.add_option("--score", a.score, "score files of predictions, each named SET.jsonl")
        ->type_name("FILE");
    command.add_flag("--levenshtein", a.with_levenshtein,
                     "code similarity as fuzzywuzzy has it with python-Levenshtein installed");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &command, &argv] {
        refuse_idle(command, !arguments->score.empty(),
                    {"--data", "--output", "--max-length", "--limit", "--clean-spaces", "--plan",
                     "--sparsity", "--no-dense", "--apply", "--keep-last"},
                    "--score runs nothing");
        run_longbench_command(*arguments, argv, CommandFiles(command));
    });
}

}  // namespace orthorank
