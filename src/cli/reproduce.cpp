#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "base/file_lock.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "report/result_frame.h"
#include "reproduction/reproduction_report.h"

namespace orthorank {

namespace {

struct ReproduceArguments {
    ModelArguments model;
    std::string data_dir;
    std::string output;
    std::string only;
    std::string budget = "quick";
    int n_windows = 0;
    int n_ctx = 0;
    int limit = 0;
    bool restart = false;
};

Budget budget_of(const ReproduceArguments &arguments, const Model &model) {
    Budget budget = budget_from_name(arguments.budget);
    if (arguments.n_ctx > 0) {
        if (arguments.n_ctx > model.hparams().n_ctx_train) {
            fail(ErrorKind::limit, "--ctx {}: the model's context has {} tokens", arguments.n_ctx,
                 model.hparams().n_ctx_train);
        }
        budget = with_tokens(budget, arguments.n_ctx);
    }
    if (arguments.n_windows > 0) {
        budget.n_ppl_windows = budget.n_sweep_windows = arguments.n_windows;
    }
    if (arguments.limit > 0) {
        budget.n_documents = budget.n_answers = budget.n_records = arguments.limit;
    }
    return fitted_to(budget, model.hparams());
}

// The model's options as they were given, for the commands of the report.
std::string model_text(const ReproduceArguments &arguments) {
    const ModelArguments &model = arguments.model;
    const ModelArguments usual;
    std::string text;
    const auto add = [&](const char *option, const std::string &value, const std::string &other) {
        text += value == other ? "" : fmt::format(" {} {}", option, value);
    };
    add("-m", model.path, usual.path);
    add("--device", model.device, usual.device);
    add("--kv-type", model.kv_type, usual.kv_type);
    add("--weights", model.weights, usual.weights);
    add("--kernels", model.kernels, usual.kernels);
    add("--threads", std::to_string(model.n_threads), std::to_string(usual.n_threads));
    return text;
}

std::string in_folder(const ReproduceArguments &arguments, const std::string &name) {
    return (std::filesystem::path(arguments.output) / name).string();
}

// Before the work: the folder is there, and what is written there is no input.
void prepare_folder(const ReproduceArguments &arguments, CommandFiles files) {
    std::error_code error;
    std::filesystem::create_directories(arguments.output, error);
    if (!std::filesystem::is_directory(arguments.output)) {
        fail(ErrorKind::file, "{} cannot be made a folder: {}", arguments.output,
             error ? error.message() : "there is something else");
    }
    for (const char *name : {"report.md", "report.html", "reproduce.json"}) {
        files.writes(in_folder(arguments, name), "what is written to --output");
    }
}

void print_order(std::span<const Work> works) {
    double seconds = 0;
    for (const Work &work : works) {
        seconds += work.seconds;
    }
    print("{} pieces of work, about {} in all:\n", works.size(), duration_text(seconds));
    for (size_t i = 0; i < works.size(); ++i) {
        print("{:>4}  {:<44}  {}\n", i + 1, works[i].name,
              works[i].seconds > 0 ? "about " + duration_text(works[i].seconds) : "finished");
    }
    flush_stdout();
}

void work_with_progress(Workshop &workshop, std::span<const Work> works,
                        const std::string &folder) {
    Progress progress("reproduce", stderr, is_dumb_terminal());
    const Stopwatch watch;
    try {
        do_work(workshop, works, [&](const WorkProgress &at) {
            if (!at.is_finished) {
                progress.update(at.fraction, at.at->name);
                return;
            }
            progress.finish();
            const double left =
                at.fraction > 0 ? watch.elapsed_s() * (1 - at.fraction) / at.fraction : 0;
            remark("[{}/{}] {}: {}, {} left", at.n_done, at.n_all, at.at->name,
                   duration_text(at.seconds), duration_text(left));
        });
    } catch (const Interrupted &) {
        progress.finish();
        throw Interrupted(fmt::format(
            "interrupted; what is finished is kept in {}: the same command continues", folder));
    }
}

void write_files(const ReproduceArguments &arguments, const Argv &argv, const Workshop &workshop,
                 ReproductionReport report) {
    const Model &model = workshop.model();
    for (const EntryReport &entry : report.entries) {
        for (const Figure &figure : entry.result.figures) {
            write_output(in_folder(arguments, figure.name + ".svg"), figure.svg);
            write_output(in_folder(arguments, figure.name + ".csv"), csv_text(figure.data));
        }
        for (size_t i = 0; i < entry.result.tables.size(); ++i) {
            write_output(in_folder(arguments, fmt::format("{}{}.csv", entry.entry.name,
                                                          i == 0 ? "" : fmt::format("-{}", i + 1))),
                         csv_text(entry.result.tables[i].table));
        }
    }
    nlohmann::ordered_json json = result_frame(argv, model, nullptr);
    json["engine"] = engine_json(model, engine_options(arguments.model, 0));
    add_reproduction_json(report, workshop.budget(), json);
    write_json(in_folder(arguments, "reproduce.json"), json);
    const Page page = reproduction_page(report);
    write_output(in_folder(arguments, "report.md"), page.markdown());
    write_output(in_folder(arguments, "report.html"), page.html());
}

void run_reproduce(const ReproduceArguments &arguments, const Argv &argv,
                   const CommandFiles &files) {
    if (arguments.data_dir.empty() || arguments.output.empty()) {
        fail(ErrorKind::usage,
             "--data (the folder of the data sets) and --output (a folder) are required");
    }
    const std::vector<Entry> chosen = chosen_entries(arguments.only);
    budget_from_name(arguments.budget);  // refused before the model is loaded
    const std::unique_ptr<Model> model = load_model(arguments.model);
    WorkshopOptions options;
    options.folder = arguments.output;
    options.engine = engine_options(arguments.model, 0);
    options.identity = run_identity(*model, arguments.model);
    options.kv_type = arguments.model.kv_type;
    options.should_stop = is_interrupted;
    Workshop workshop(*model, budget_of(arguments, *model), options);
    const Needs needs = needs_of(workshop, chosen);
    workshop.sources() =
        read_sources(arguments.data_dir, workshop.budget(), needs, *model, arguments.n_windows);
    prepare_folder(arguments, files);
    const FileLock lock(in_folder(arguments, "reproduce.lock"), arguments.output,
                        FileLock::After::remove);
    if (arguments.restart) {
        workshop.forget();
    }
    for (const std::string &line : workshop.sources().missing) {
        remark("left out: {}", line);
    }
    catch_interrupts();
    const std::vector<Work> works = work_list(workshop, needs);
    print_order(works);
    work_with_progress(workshop, works, arguments.output);
    ReproductionReport report;
    report.model = fmt::format("{} ({}, {} layers)", model->hparams().name, model->type_in_use(),
                               model->hparams().n_layers);
    report.command = fmt::format("{}", fmt::join(argv, " "));
    report.budget = arguments.budget;
    report.data_dir = arguments.data_dir;
    report.missing = workshop.sources().missing;
    report.entries = entry_reports(workshop, chosen, model_text(arguments));
    write_files(arguments, argv, workshop, report);
    print("claims: {}\nreport: {}\n", claims_summary(report.entries),
          in_folder(arguments, "report.html"));
}

}  // namespace

void add_reproduce(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "reproduce", "every table and figure of the paper for a model, its claims as tests");
    const auto arguments = std::make_shared<ReproduceArguments>();
    ReproduceArguments &a = *arguments;
    command.add_option("--data", a.data_dir, "folder with the data sets' files")->type_name("DIR");
    command.add_option("-o,--output", a.output, "the report and all data go to DIR")
        ->type_name("DIR");
    command
        .add_option("--only", a.only,
                    "these tables and figures, such as table1,fig7 (default: all)")
        ->type_name("NAMES");
    command
        .add_option("--budget", a.budget,
                    "windows, documents and lengths: quick, standard, or paper (its own)")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_option("--windows", a.n_windows,
                    "in place of the budget's: windows of perplexity and of the sweep")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command
        .add_option("--ctx", a.n_ctx,
                    "in place of the budget's: tokens in each of them, and in a window of the "
                    "searches and a prompt of the throughput")
        ->check(CLI::Range(32, 1 << 30))
        ->type_name("N");
    command
        .add_option("--limit", a.limit,
                    "in place of the budget's: the first N documents, questions and records of "
                    "each set")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command.add_flag("--restart", a.restart, "begin anew where work of these settings is kept");
    add_model_options(command, a.model);
    command.callback(
        [arguments, &command, &argv] { run_reproduce(*arguments, argv, CommandFiles(command)); });
}

}  // namespace orthorank
