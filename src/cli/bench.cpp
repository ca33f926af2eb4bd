#include "cli/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

constexpr int k_max_tokens = 1 << 20;

std::array<const std::string *, 6> outputs_of(const BenchOutputs &a) {
    return {&a.json, &a.markdown, &a.csv, &a.svg, &a.scale_svg, &a.memory_svg};
}

bool prints_table(const BenchOutputs &a) {
    const std::array<const std::string *, 6> outputs = outputs_of(a);
    return std::none_of(outputs.begin(), outputs.end(),
                        [](const std::string *path) { return is_stdout(*path); });
}

void write_results(const BenchOutputs &files, const BenchReport &report,
                   nlohmann::ordered_json json) {
    json["text"] = report.text;
    json["n_processes"] = report.n_processes;
    json["machine"] = peak_json(report.peak);
    json["results"] = nlohmann::ordered_json::array();
    for (const BenchRow &row : report.rows) {
        json["results"].push_back(bench_row_json(row, report));
    }
    write_json(files.json, json);
    const std::pair<const std::string *, std::string (*)(const BenchReport &)> outputs[] = {
        {&files.markdown, bench_markdown},
        {&files.csv, bench_csv},
        {&files.svg, bench_bars_svg},
        {&files.scale_svg, bench_scale_svg},
        {&files.memory_svg, bench_memory_svg}};
    for (const auto &[path, text_of] : outputs) {
        if (!path->empty()) {
            write_output(*path, text_of(report));
        }
    }
    if (prints_table(files)) {
        print_text(bench_table(report));
    }
}

bool is_dense(const std::string &arm) {
    return arm == "libllama" || arm == "dense";
}

NamedArm arm_of(const std::string &text, const Model &model, const ApplyArguments &apply) {
    NamedArm arm;
    arm.name = text;
    arm.is_libllama = text == "libllama";
    arm.plan = dense_plan(model.hparams().n_layers);
    if (is_dense(text)) {
        return arm;
    }
    if (!is_by_sparsity(text) && !std::filesystem::exists(text)) {
        fail(ErrorKind::usage,
             "unknown arm '{}' (known: libllama, dense, sparsity:20%, or a plan file)", text);
    }
    arm.plan = apply.applied_to(read_plan_for(model, text, apply.purpose(PlanPurpose::every_row)));
    arm.name = arm.plan.name;
    return arm;
}

std::vector<NamedArm> arms_of(std::span<const std::string> texts, const Model &model,
                              const ApplyArguments &apply) {
    std::vector<NamedArm> arms;
    for (size_t i = 0; i < texts.size(); ++i) {
        const std::string &text = texts[i];
        NamedArm arm = arm_of(text, model, apply);
        for (size_t j = 0; j < i; ++j) {
            if (texts[j] == text) {
                fail(ErrorKind::usage, "arm '{}' is named twice", text);
            }
            if (arms[j].name == arm.name) {
                arm.name = text;  // files of one name: the paths tell them apart
            }
        }
        arms.push_back(std::move(arm));
    }
    return arms;
}

BenchStudy study_of(const BenchArguments &arguments, const Model &model) {
    BenchStudy study;
    study.arms = arms_of(arguments.arms, model, arguments.apply);
    study.shapes = bench_shapes(arguments.lengths);
    study.n_repetitions = arguments.n_repetitions;
    study.n_warmups = arguments.n_warmups;
    study.has_breakdown = arguments.has_breakdown;
    study.engine = engine_options(arguments.model, 0);
    return study;
}

Measured measure_here(const Model &model, const BenchStudy &study, const BenchText &text) {
    Progress progress("bench", stderr, is_dumb_terminal());
    progress.update(0.0);
    Measured measured;
    measured.results = measure(model, study, text, [&](size_t n_done, size_t n_all) {
        stop_if_interrupted();
        progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
    });
    EngineOptions longest = study.engine;
    longest.n_ctx = context_of(study.shapes);
    measured.engine = engine_json(model, longest);
    return measured;
}

std::vector<PerplexityResult> quality_of(const BenchArguments &arguments, const Model &model,
                                         const BenchStudy &study) {
    if (arguments.quality.file.empty()) {
        return {};
    }
    QualityText text = arguments.quality;
    text.field = arguments.text.field;
    BenchStudy scored = study;
    for (NamedArm &arm : scored.arms) {
        arm.plan = for_every_row(std::move(arm.plan));
    }
    Progress progress("quality", stderr, is_dumb_terminal());
    return measure_quality(
        model, scored, text, [&](size_t n_done, size_t n_all, std::span<const PerplexityResult>) {
            stop_if_interrupted();
            progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
        });
}

// What is measured is this machine's CPU, beside which a layer on another device has no share. The
// CPU comes last of a model's devices.
void refuse_roofline_elsewhere(const Model &model) {
    const LayerSplit &split = model.split();
    for (int il = 0; il < model.hparams().n_layers; ++il) {
        ggml_backend_dev_t device = split.device(il);
        if (device != split.devices.back()) {
            fail(ErrorKind::usage,
                 "--roofline measures what this machine's CPU does at most, and layer {} is on {}: "
                 "leave it out, or take --device CPU",
                 il, ggml_backend_dev_name(device));
        }
    }
}

void run_bench(const BenchArguments &arguments, const Argv &argv) {
    catch_interrupts();
    arguments.apply.check();
    if (arguments.n_processes > 1 && !arguments.model.rpc.empty()) {
        fail(ErrorKind::usage,
             "--processes {} does not go with --rpc: a server has one client at a time, and this "
             "process is the first; run the command {} times instead",
             arguments.n_processes, arguments.n_processes);
    }
    bench_shapes(arguments.lengths);  // throws for nothing to run, before the model is loaded
    const std::unique_ptr<Model> model = load_model(arguments.model);
    if (arguments.has_roofline) {
        refuse_roofline_elsewhere(*model);
    }
    const BenchStudy study = study_of(arguments, *model);
    if (!arguments.quality.file.empty()) {
        for (const NamedArm &arm : study.arms) {
            refuse_decode_plan(arm.plan);
        }
    }
    const BenchOutputs &outputs = arguments.outputs;
    if (!scale_axis(study.shapes, study.arms) &&
        !(outputs.scale_svg.empty() && outputs.memory_svg.empty())) {
        fail(ErrorKind::usage,
             "--svg-scale and --svg-memory draw against what varies: give --prefill several "
             "lengths, --batch several numbers, or --arms plans with different numbers of "
             "selecting layers");
    }
    const BenchText text = bench_text(arguments.text, *model, study.shapes);
    const Measured measured = arguments.n_processes > 1
                                  ? measure_in_processes(arguments, study, argv)
                                  : measure_here(*model, study, text);
    const std::vector<PerplexityResult> quality = quality_of(arguments, *model, study);
    BenchReport report = bench_report(*model, study, text, measured.results, quality);
    report.n_processes = arguments.n_processes;
    if (arguments.has_roofline) {
        report.peak = machine_peak(cpu_level_of(study.engine.kernels), report.n_threads);
    }
    nlohmann::ordered_json json = result_frame(argv, *model, nullptr);
    json["engine"] = measured.engine;
    write_results(outputs, report, std::move(json));
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

void add_outputs(CLI::App &command, BenchOutputs &a) {
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

void add_text(CLI::App &command, BenchTextSource &a) {
    command
        .add_option("-f,--file", a.file,
                    "the text: raw, or JSON Lines (*.jsonl, *.ndjson, *.json; default: this "
                    "program's documentation)")
        ->type_name("FILE");
    command.add_option("--field", a.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_flag("--random-tokens", a.is_random,
                  "random tokens instead of a text (the paper's protocol)")
        ->excludes("--file");
}

}  // namespace

void add_bench(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "bench", "speed of plans beside the dense model and libllama, interleaved in one run");
    const auto arguments = std::make_shared<BenchArguments>();
    BenchArguments &a = *arguments;
    a.text = {.file = "", .field = "text", .pages_dir = ORTHORANK_DOCS_DIR};
    command.add_option("--arms", a.arms, "comma-separated: libllama, dense, plan files")
        ->delimiter(',')
        ->capture_default_str()
        ->type_name("ARM,...");
    add_apply_options(command, a.apply);
    add_list(command, "--prefill", a.lengths.prefills, 1, k_max_tokens, "prompt lengths to time");
    add_list(command, "--ttft", a.lengths.first_tokens, 1, k_max_tokens,
             "prompt lengths whose time to first token is measured: ids in, first id out");
    add_list(command, "--decode", a.lengths.decodes, 1, k_max_tokens,
             "numbers of tokens to decode");
    add_list(command, "--depth", a.lengths.depths, 0, k_max_tokens,
             "decode after prompts of these lengths (default: 0)");
    add_list(command, "--batch", a.lengths.batches, 1, 1024,
             "numbers of sequences at once (default: 1)");
    add_number(command, "--repetitions", a.n_repetitions, 1, 10000,
               "timed runs of each arm on each shape");
    add_number(command, "--warmup", a.n_warmups, 0, 100, "runs before, not counted");
    add_number(command, "--processes", a.n_processes, 1, 100,
               "fresh processes, one after the other, that each do all of it");
    add_text(command, a.text);
    command.add_flag("--breakdown", a.has_breakdown, "divide each arm's time into operations");
    command.add_flag("--roofline", a.has_roofline,
                     "measure what the machine does at most, and each arm's share of it");
    command.add_option("--quality", a.quality.file, "perplexity of each plan on this text")
        ->type_name("FILE");
    add_number(command, "--quality-windows", a.quality.n_windows, 1, 1 << 20,
               "the first N windows of it");
    add_number(command, "--quality-ctx", a.quality.n_ctx, 2, k_max_tokens, "tokens in a window");
    add_model_options(command, a.model);
    add_outputs(command, a.outputs);
    command.callback([arguments, &command, &argv] {
        refuse_idle(command, std::all_of(arguments->arms.begin(), arguments->arms.end(), is_dense),
                    {"--apply", "--keep-last"}, "no arm is a plan");
        refuse_idle(command, arguments->lengths.decodes.empty(), {"--depth"},
                    "there is no --decode");
        refuse_idle(command, arguments->text.file.empty() && arguments->quality.file.empty(),
                    {"--field"}, "there is no --file and no --quality");
        refuse_idle_field(command, {arguments->text.file, arguments->quality.file});
        refuse_idle(command, arguments->quality.file.empty(),
                    {"--quality-windows", "--quality-ctx"}, "there is no --quality");
        run_bench(*arguments, argv);
    });
}

}  // namespace orthorank
