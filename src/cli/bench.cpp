#include "cli/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "cli/command_files.h"
#include "model/backend_info.h"

namespace orthorank {

namespace {

constexpr int k_max_tokens = 1 << 20;

std::array<const std::string *, 6> outputs_of(const BenchArguments &a) {
    return {&a.json, &a.markdown, &a.csv, &a.svg, &a.scale_svg, &a.memory_svg};
}

bool prints_table(const BenchArguments &a) {
    const std::array<const std::string *, 6> outputs = outputs_of(a);
    return std::none_of(outputs.begin(), outputs.end(),
                        [](const std::string *path) { return is_stdout(*path); });
}

std::string text_description(const BenchText &text, std::span<const BenchShape> shapes) {
    std::string description = fmt::format("{}, {} tokens", text.source, text.tokens.size());
    for (const BenchShape &shape : shapes) {
        const auto n =
            static_cast<size_t>(tokens_needed(shape)) * static_cast<size_t>(shape.n_sequences);
        if (n > text.tokens.size()) {
            return fmt::format("{}: too few for {}, whose sequences overlap", description,
                               shape_text(shape));
        }
    }
    return description;
}

void write_results(const BenchArguments &arguments, const BenchReport &report,
                   nlohmann::ordered_json json) {
    json["text"] = report.text;
    json["n_processes"] = report.n_processes;
    json["results"] = nlohmann::ordered_json::array();
    for (const BenchRow &row : report.rows) {
        json["results"].push_back(bench_row_json(row, report));
    }
    write_json(arguments.json, json);
    const std::pair<const std::string *, std::string (*)(const BenchReport &)> outputs[] = {
        {&arguments.markdown, bench_markdown},
        {&arguments.csv, bench_csv},
        {&arguments.svg, bench_bars_svg},
        {&arguments.scale_svg, bench_scale_svg},
        {&arguments.memory_svg, bench_memory_svg}};
    for (const auto &[path, text_of] : outputs) {
        if (!path->empty()) {
            write_output(*path, text_of(report));
        }
    }
    if (prints_table(arguments)) {
        print_text(bench_table(report));
    }
}

void run_bench(const BenchArguments &arguments, const Argv &argv) {
    const std::vector<BenchShape> shapes = bench_shapes(arguments);
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const std::vector<NamedArm> arms = bench_arms(arguments, *model);
    const std::optional<ScaleAxis> axis = scale_axis(shapes, arms);
    if (!axis && !(arguments.scale_svg.empty() && arguments.memory_svg.empty())) {
        fail(ErrorKind::usage,
             "--svg-scale and --svg-memory draw against what varies: give --prefill several "
             "lengths, --batch several numbers, or --arms plans with different numbers of "
             "selecting layers");
    }
    const BenchText text = bench_text(arguments, *model);
    const Measured measured =
        arguments.n_processes > 1
            ? measure_in_processes(arguments, argv, shapes.size() * arms.size())
            : measure(arguments, *model, arms, text);
    const std::vector<PerplexityResult> quality = measure_quality(arguments, *model, arms);
    BenchReport report;
    report.model = model->hparams().name;
    report.file_type = model->file_type();
    report.type_in_use = model->type_in_use();
    report.weights = model->weight_types().text();
    for (const auto &[buffer, bytes] : model->buffer_bytes()) {
        report.weight_bytes += bytes;
    }
    report.axis = axis;
    report.device = device_name(*model);
    report.text = text_description(text, shapes);
    report.n_threads = n_threads_of(arguments);
    report.n_processes = arguments.n_processes;
    report.has_breakdown = arguments.has_breakdown;
    report.has_quality = !quality.empty();
    report.rows = bench_rows(arguments, *model, arms, measured.results, quality);
    nlohmann::ordered_json json = result_frame(argv, *model, nullptr, arguments.model);
    json["engine"] = measured.engine;
    write_results(arguments, report, std::move(json));
}

void add_list(CLI::App &command, const char *name, std::vector<int> &values, int low, int high,
              const char *description) {
    command.add_option(name, values, description)
        ->delimiter(',')
        ->check(CLI::Range(low, high))
        ->type_name("N,...");
}

void add_number(CLI::App &command, const char *name, int &value, int low, int high,
                const char *description) {
    command.add_option(name, value, description)
        ->check(CLI::Range(low, high))
        ->capture_default_str()
        ->type_name("N");
}

void add_outputs(CLI::App &command, BenchArguments &a) {
    add_json_option(command, a.json);
    command.add_option("--markdown", a.markdown, "write the tables as Markdown ('-': to stdout)")
        ->type_name(k_output_type);
    command.add_option("--csv", a.csv, "write the rows as CSV ('-': to stdout)")
        ->type_name(k_output_type);
    command.add_option("--svg", a.svg, "plot of the ratios to dense with their bounds")
        ->type_name(k_output_type);
    command
        .add_option("--svg-scale", a.scale_svg,
                    "plot of time against length, sequences or selecting layers, whatever varies, "
                    "with the cost model's prediction")
        ->type_name(k_output_type);
    command
        .add_option("--svg-memory", a.memory_svg,
                    "plot of memory against the same, without weights")
        ->type_name(k_output_type);
}

void add_text(CLI::App &command, BenchArguments &a) {
    command
        .add_option("-f,--file", a.file,
                    "the text: raw, or JSON Lines (*.jsonl, *.ndjson, *.json; default: this "
                    "program's documentation)")
        ->type_name("FILE");
    command.add_option("--field", a.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_flag("--random-tokens", a.random_tokens,
                  "random tokens instead of a text (the paper's protocol)")
        ->excludes("--file");
}

}  // namespace

void add_bench(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "bench", "speed of plans beside the dense model and libllama, interleaved in one run");
    const auto arguments = std::make_shared<BenchArguments>();
    BenchArguments &a = *arguments;
    command.add_option("--arms", a.arms, "comma-separated: libllama, dense, plan files")
        ->delimiter(',')
        ->capture_default_str()
        ->type_name("ARM,...");
    add_list(command, "--prefill", a.prefills, 1, k_max_tokens, "prompt lengths to time");
    add_list(command, "--ttft", a.first_tokens, 1, k_max_tokens,
             "prompt lengths whose time to first token is measured: ids in, first id out");
    add_list(command, "--decode", a.decodes, 1, k_max_tokens, "numbers of tokens to decode");
    add_list(command, "--depth", a.depths, 0, k_max_tokens,
             "decode after prompts of these lengths (default: 0)");
    add_list(command, "--batch", a.batches, 1, 1024, "numbers of sequences at once (default: 1)");
    add_number(command, "--repetitions", a.n_repetitions, 1, 10000,
               "timed runs of each arm on each shape");
    add_number(command, "--warmup", a.n_warmups, 0, 100, "runs before, not counted");
    add_number(command, "--processes", a.n_processes, 1, 100,
               "fresh processes, one after the other, that each do all of it");
    add_text(command, a);
    command.add_flag("--breakdown", a.has_breakdown, "divide each arm's time into operations");
    command.add_option("--quality", a.quality_file, "perplexity of each plan on this text")
        ->type_name("FILE");
    add_number(command, "--quality-windows", a.n_quality_windows, 1, 1 << 20,
               "the first N windows of it");
    add_number(command, "--quality-ctx", a.quality_ctx, 2, k_max_tokens, "tokens in a window");
    add_model_options(command, a.model);
    add_outputs(command, a);
    command.callback([arguments, &command, &argv] {
        refuse_idle(command, arguments->decodes.empty(), {"--depth"}, "there is no --decode");
        refuse_idle(command, arguments->file.empty() && arguments->quality_file.empty(),
                    {"--field"}, "there is no --file and no --quality");
        refuse_idle_field(command, {arguments->file, arguments->quality_file});
        refuse_idle(command, arguments->quality_file.empty(),
                    {"--quality-windows", "--quality-ctx"}, "there is no --quality");
        run_bench(*arguments, argv);
    });
}

}  // namespace orthorank
