#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "analysis/analysis_report.h"
#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/text_file.h"
#include "calibration/calibration.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "model/vocab.h"
#include "report/json_text.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

struct AnalyzeArguments {
    ModelArguments model;
    std::string text;
    std::string output;
    int n_tokens = 1001;
    int n_windows = 4;
    int seqlen = 2048;
    bool no_sweep = false;
};

// The text as the paper takes it (its Appendix F): without line ends.
std::vector<int32_t> tokens_of(const AnalyzeArguments &arguments, const Model &model) {
    std::string text = read_text_file(arguments.text);
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
    const auto n_tokens = static_cast<size_t>(arguments.n_tokens);
    const int n_ctx = model.hparams().n_ctx_train;
    if (arguments.n_tokens > n_ctx) {
        fail(ErrorKind::limit, "{} tokens do not fit into the model's context of {}: --tokens {}",
             arguments.n_tokens, n_ctx, n_ctx);
    }
    std::vector<int32_t> tokens = model.vocab().tokenize_first(n_tokens, text, /*add_bos=*/true);
    if (tokens.size() < n_tokens) {
        fail(ErrorKind::limit, "{} has {} tokens, {} were asked for: a longer text, or --tokens",
             arguments.text, tokens.size(), n_tokens);
    }
    return tokens;
}

// Of the sweep; with line ends, as for perplexity.
std::optional<Calibration> windows_of(const AnalyzeArguments &arguments, const Model &model) {
    if (arguments.no_sweep) {
        return std::nullopt;
    }
    CalibrationOptions options;
    options.files = {arguments.text};
    options.seqlen = std::min(arguments.seqlen, model.hparams().n_ctx_train);
    options.n_windows = arguments.n_windows;
    return read_calibration(options, model.vocab());
}

TextStates pass_over(const AnalyzeArguments &arguments, const Model &model,
                     std::span<const int32_t> tokens) {
    EngineOptions engine_of_pass = engine_options(arguments.model, arguments.n_tokens);
    engine_of_pass.chunk_rows = chunk_rows_for(model.hparams(), tokens.size());
    Engine engine(model, engine_of_pass);
    Progress progress("analysis", stderr, is_dumb_terminal());
    TextStatesOptions options;
    options.kept_positions = figure_positions();
    options.on_progress = [&](double fraction) { progress.update(fraction); };
    options.should_stop = is_interrupted;
    return text_states(engine, tokens, options);
}

LayerSweep sweep_over(const AnalyzeArguments &arguments, const Model &model,
                      const Windows &windows) {
    const std::unique_ptr<Engine> engine = make_engine(model, arguments.model, windows.n_ctx);
    Progress progress("sweep", stderr, is_dumb_terminal());
    LayerSweepOptions options;
    options.on_progress = [&](double fraction) { progress.update(fraction); };
    options.should_stop = is_interrupted;
    return sweep_layers(*engine, windows, options);
}

std::string in_folder(const AnalyzeArguments &arguments, const std::string &name) {
    return (std::filesystem::path(arguments.output) / name).string();
}

void write_files(const AnalyzeArguments &arguments, const Argv &argv, const Model &model,
                 const Analysis &analysis, nlohmann::ordered_json json) {
    for (const Figure &figure : analysis.figures) {
        write_output(in_folder(arguments, figure.name + ".svg"), figure.svg);
        write_output(in_folder(arguments, figure.name + ".csv"), csv_text(figure.data));
    }
    add_analysis_json(analysis, json);
    write_json(in_folder(arguments, "analysis.json"), json);
    write_output(in_folder(arguments, "index.html"),
                 analysis_page(analysis, model.hparams().name, arguments.text,
                               fmt::format("{}", fmt::join(argv, " ")))
                     .html());
}

// Before the work: the folder is there, and what is written there is no input.
void prepare_folder(const AnalyzeArguments &arguments, CommandFiles files) {
    std::error_code error;
    std::filesystem::create_directories(arguments.output, error);
    if (!std::filesystem::is_directory(arguments.output)) {
        fail(ErrorKind::file, "{} cannot be made a folder: {}", arguments.output,
             error ? error.message() : "there is something else");
    }
    for (const char *name : {"analysis.json", "index.html"}) {
        files.writes(in_folder(arguments, name), "what is written to --output");
    }
}

void run_analyze(const AnalyzeArguments &arguments, const Argv &argv, const CommandFiles &files) {
    if (arguments.text.empty() || arguments.output.empty()) {
        fail(ErrorKind::usage, "--file (the text) and --output (a folder) are required");
    }
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const Hparams &hparams = model->hparams();
    if (hparams.n_layers < 2) {
        fail(ErrorKind::format, "{} has 1 layer: an analysis compares layers, it needs two",
             model->path());
    }
    const std::vector<int32_t> tokens = tokens_of(arguments, *model);
    const std::optional<Calibration> calibration = windows_of(arguments, *model);
    prepare_folder(arguments, files);
    catch_interrupts();
    TextStates states = pass_over(arguments, *model, tokens);
    std::optional<LayerSweep> sweep;
    if (calibration) {
        sweep = sweep_over(arguments, *model, calibration->windows);
    }
    stop_if_interrupted();
    const Analysis analysis = make_analysis(std::move(states), std::move(sweep), hparams.name);
    nlohmann::ordered_json json = result_frame(argv, *model, nullptr);
    json["engine"] = engine_json(*model, engine_options(arguments.model, arguments.n_tokens));
    json["text"] = arguments.text;
    json["tokens"] = tokens;
    json["sweep_windows"] = calibration ? calibration->description : nullptr;
    write_files(arguments, argv, *model, analysis, std::move(json));
    print_text(plain_text(sink_table(analysis)));
    print("\n");
    for (const Statement &statement : analysis.statements) {
        print("{}: {}\n", statement.name, outcome_text(statement));
    }
    print("figures, data and numbers: {}\n", in_folder(arguments, "index.html"));
}

}  // namespace

void add_analyze(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "analyze", "the paper's figures of a model, its observations and equations as tests");
    const auto arguments = std::make_shared<AnalyzeArguments>();
    AnalyzeArguments &a = *arguments;
    command.add_option("-f,--file", a.text, "the text")->type_name("FILE");
    command.add_option("-o,--output", a.output, "figures, data and index.html go to DIR")
        ->type_name("DIR");
    command.add_option("--tokens", a.n_tokens, "the first N tokens of the text, without line ends")
        ->capture_default_str()
        ->check(CLI::Range(static_cast<int>(k_min_analysis_tokens), 1 << 20))
        ->type_name("N");
    CLI::Option *no_sweep = command.add_flag(
        "--no-sweep", a.no_sweep, "leave out the loss with one layer changed: the long part");
    command.add_option("--windows", a.n_windows, "windows of the sweep")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 30))
        ->excludes(no_sweep)
        ->type_name("N");
    command.add_option("--seqlen", a.seqlen, "tokens in a window of the sweep, or the context")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 30))
        ->excludes(no_sweep)
        ->type_name("N");
    add_model_options(command, a.model);
    command.callback(
        [arguments, &command, &argv] { run_analyze(*arguments, argv, CommandFiles(command)); });
}

}  // namespace orthorank
