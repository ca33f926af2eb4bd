#include "session/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/apply_options.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "cli/trace_page.h"
#include "model/vocab.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

constexpr size_t k_layers_in_row = 8;

struct TraceArguments {
    ModelArguments model;
    std::string prompt;
    std::string prompt_file;
    std::string plan;
    ApplyArguments apply;
    std::string json;
    std::string html;
    int n_tokens = 64;
    int n_decode = 0;
    CLI::Option *prompt_option = nullptr;
    CLI::Option *file_option = nullptr;
};

// What follows the frame: the trace itself at the top level, and a summary as its result.
void add_trace_json(nlohmann::ordered_json &json, const TraceResult &result) {
    nlohmann::ordered_json summary;
    summary["plan"] = plan_name_json(result.plan);
    summary["effective_sparsity"] = result.plan.effective_sparsity();
    summary["n_prompt"] = result.n_prompt;
    summary["n_tokens"] = result.tokens.size();
    summary["fraction_of_rows_computed"] = nullptr;
    if (result.n_rows_offered > 0) {
        summary["fraction_of_rows_computed"] = static_cast<double>(result.n_rows_computed) /
                                               static_cast<double>(result.n_rows_offered);
    }
    json["results"] = nlohmann::ordered_json::array({summary});
    json.update(trace_json(result));
}

// A token's text on one line.
std::string visible(const std::string &piece) {
    return nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void print_layers(const TraceResult &result, std::span<const TraceLayer> layers, size_t width) {
    print("{:>5}  {:<{}}", "", "", width);
    for (const TraceLayer &layer : layers) {
        print("  {:>12}", fmt::format("layer {}", layer.index));
    }
    print("\n");
    for (size_t i = 0; i < result.tokens.size(); ++i) {
        if (i == result.n_prompt) {
            print("decoded:\n");
        }
        print("{:>5}  {:<{}}", i, visible(result.pieces[i]), width);
        for (const TraceLayer &layer : layers) {
            const std::string score = i == 0 ? "sink" : fmt::format("{:.4g}", layer.scores[i]);
            print("  {:>10} {}", score, layer.is_computed(static_cast<int32_t>(i)) ? '*' : ' ');
        }
        print("\n");
    }
    print("{:>5}  {:<{}}", "", "computed", width);
    for (const TraceLayer &layer : layers) {
        print("  {:>12}", fmt::format("{} of {}", layer.rows.size(), layer.scores.size()));
    }
    print("\n");
}

void print_trace(const TraceResult &result) {
    print("{}: scores in its selecting layers; * marks the rows that were computed\n",
          result.plan.name);
    size_t width = 8;
    for (const std::string &piece : result.pieces) {
        width = std::max(width, visible(piece).size());
    }
    width = std::min<size_t>(width, 24);
    for (size_t first = 0; first < result.layers.size(); first += k_layers_in_row) {
        const size_t n = std::min(k_layers_in_row, result.layers.size() - first);
        print("\n");
        print_layers(result, std::span(result.layers).subspan(first, n), width);
    }
}

TraceResult trace_with_progress(Engine &engine, std::span<const int32_t> tokens,
                                TraceOptions options) {
    catch_interrupts();
    Progress progress("trace", stderr, is_dumb_terminal());
    progress.update(0.0);
    options.on_step = [&](int n_decoded) {
        stop_if_interrupted();
        progress.update(static_cast<double>(n_decoded) / std::max(options.n_decode, 1));
    };
    return trace(engine, tokens, options);
}

void run_trace(const TraceArguments &arguments, const Argv &argv) {
    TraceOptions options;
    arguments.apply.check();
    options.n_decode = arguments.n_decode;
    if (arguments.plan.empty()) {
        fail(ErrorKind::usage, "--plan is required (or --sparsity)");
    }
    const std::unique_ptr<Model> model = load_model(arguments.model);
    options.plan = arguments.apply.applied_to(
        read_plan_for(*model, arguments.plan, arguments.apply.purpose(PlanPurpose::prompt)));
    if (options.plan.layers_with(Action::select).empty()) {
        fail(ErrorKind::usage, "plan {} has no selecting layer: there is nothing to trace",
             options.plan.name);
    }
    const std::string text = read_prompt(*arguments.prompt_option, *arguments.file_option);
    const std::vector<int32_t> tokens = model->vocab().tokenize_first(
        static_cast<size_t>(arguments.n_tokens), text, /*add_bos=*/true);
    const auto n_ctx = static_cast<int>(std::max<size_t>(tokens.size(), 1)) + arguments.n_decode;
    const std::unique_ptr<Engine> engine = make_engine(*model, arguments.model, n_ctx);
    const TraceResult result = trace_with_progress(*engine, tokens, options);
    nlohmann::ordered_json json = result_frame(argv, *model, engine.get());
    add_trace_json(json, result);
    write_json(arguments.json, json);
    if (!arguments.html.empty()) {
        write_output(arguments.html, trace_page(result, fmt::format("{}", fmt::join(argv, " "))));
    }
    if (prints_text(arguments.json) && prints_text(arguments.html)) {
        print_trace(result);
    }
}

}  // namespace

void add_trace(CLI::App &app, const Argv &argv) {
    CLI::App &command =
        *app.add_subcommand("trace", "scores and chosen rows of each selecting layer of a plan");
    const auto arguments = std::make_shared<TraceArguments>();
    TraceArguments &a = *arguments;
    command.add_option("--plan", a.plan, "plan file")->type_name("FILE");
    add_sparsity_option(command, a.plan);
    a.prompt_option =
        command.add_option("-p,--prompt", a.prompt, "the text (default: stdin)")->type_name("TEXT");
    a.file_option = command.add_option("-f,--file", a.prompt_file, "read the text from a file")
                        ->excludes(a.prompt_option)
                        ->type_name("FILE");
    command.add_option("--tokens", a.n_tokens, "the first N tokens of the text")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("N");
    command.add_option("--decode", a.n_decode, "decode N tokens greedily after them")
        ->capture_default_str()
        ->check(CLI::Range(0, 1 << 24))
        ->type_name("N");
    command.add_option("--html", a.html, "a page with a map of tokens and layers")
        ->type_name(k_output_type);
    add_apply_options(command, a.apply);
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &argv] { run_trace(*arguments, argv); });
}

}  // namespace orthorank
