#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <random>

#include "base/error.h"
#include "base/progress.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "cli/shared_options.h"
#include "model/vocab.h"
#include "tasks/bench.h"
#include "tasks/bounds.h"
#include "tasks/windows.h"

namespace orthorank {

namespace {

struct BenchArguments {
    ModelArguments model;
    std::vector<std::string> arms = {"libllama", "dense"};
    std::vector<int> prefills;
    std::vector<int> depths = {0};
    std::vector<int> batches = {1};
    int n_decode = 0;
    int n_repetitions = 5;
    int n_warmups = 1;
    std::string file;
    std::string field = "text";
    bool random_tokens = false;
    std::string json;
};

struct Arm {
    std::string name;
    Plan plan;
    bool is_libllama = false;
};

std::vector<BenchShape> shapes_of(const BenchArguments &arguments) {
    std::vector<BenchShape> shapes;
    for (int n_sequences : arguments.batches) {
        for (int n : arguments.prefills) {
            shapes.push_back({Phase::prefill, n, 0, n_sequences});
        }
        for (int depth : arguments.depths) {
            if (arguments.n_decode > 0) {
                shapes.push_back({Phase::decode, arguments.n_decode, depth, n_sequences});
            }
        }
    }
    if (shapes.empty()) {
        fail(ErrorKind::usage, "nothing to run: give --prefill N or --decode N");
    }
    return shapes;
}

// Tokens per sequence that the largest shape needs.
int context_of(std::span<const BenchShape> shapes) {
    int n_ctx = 0;
    for (const BenchShape &shape : shapes) {
        n_ctx = std::max(n_ctx, shape.n_tokens + shape.depth);
    }
    return n_ctx;
}

std::vector<int32_t> tokens_of(const BenchArguments &arguments, const Model &model, int n) {
    if (!arguments.random_tokens) {
        if (arguments.file.empty()) {
            fail(ErrorKind::usage,
                 "selection depends on the text: give one with -f, or --random-tokens");
        }
        return model.vocab().tokenize(read_stream(arguments.file, arguments.field), true);
    }
    std::mt19937_64 random(0);
    std::uniform_int_distribution<int32_t> token(0, model.hparams().n_vocab - 1);
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    std::generate(tokens.begin(), tokens.end(), [&] { return token(random); });
    return tokens;
}

std::vector<Arm> arms_of(const BenchArguments &arguments, const Model &model) {
    std::vector<Arm> arms;
    for (const std::string &name : arguments.arms) {
        Arm arm;
        arm.name = name;
        arm.is_libllama = name == "libllama";
        arm.plan = dense_plan(model.hparams().n_layers);
        if (name != "libllama" && name != "dense") {
            arm.plan = read_plan_for(model, name);
            arm.name = arm.plan.name;
        }
        arms.push_back(std::move(arm));
    }
    return arms;
}

std::string shape_text(const BenchShape &shape) {
    std::string text = shape.phase == Phase::prefill
                           ? fmt::format("prefill {}", shape.n_tokens)
                           : fmt::format("decode {} @ {}", shape.n_tokens, shape.depth);
    return shape.n_sequences > 1 ? fmt::format("{} x {}", shape.n_sequences, text) : text;
}

// A row of the table: one arm on one shape beside the others of the same run.
struct Row {
    const BenchResult *result = nullptr;
    const BenchResult *dense = nullptr;     // null: no such arm
    const BenchResult *libllama = nullptr;  // null: no such arm
    const Arm *arm = nullptr;
    double bound = 0;  // speed-up over dense that the cost model allows; 0: not ours
};

std::vector<Row> rows_of(std::span<const BenchResult> results, std::span<const Arm> arms,
                         const Model &model, double kv_bytes) {
    std::vector<Row> rows;
    for (size_t i = 0; i < results.size(); ++i) {
        const size_t first = i / arms.size() * arms.size();
        Row row;
        row.result = &results[i];
        row.arm = &arms[results[i].arm];
        for (size_t j = 0; j < arms.size(); ++j) {
            if (arms[j].is_libllama) {
                row.libllama = &results[first + j];
            } else if (arms[j].plan.is_dense()) {
                row.dense = &results[first + j];
            }
        }
        if (!row.arm->is_libllama) {
            row.bound = speed_up_bound(model, row.arm->plan, results[i].shape,
                                       results[i].fraction_of_rows, kv_bytes);
        }
        rows.push_back(row);
    }
    return rows;
}

nlohmann::ordered_json ratio_json(const BenchResult *base, const BenchResult &of) {
    if (base == nullptr) {
        return nullptr;
    }
    const SpeedRatio ratio = speed_ratio(*base, of);
    return {{"median", ratio.median}, {"q1", ratio.low}, {"q3", ratio.high}};
}

nlohmann::ordered_json row_json(const Row &row) {
    const BenchResult &result = *row.result;
    nlohmann::ordered_json json;
    json["arm"] = row.arm->name;
    json["phase"] = result.shape.phase == Phase::prefill ? "prefill" : "decode";
    json["n_tokens"] = result.shape.n_tokens;
    json["depth"] = result.shape.depth;
    json["n_sequences"] = result.shape.n_sequences;
    json["effective_sparsity"] = row.arm->plan.effective_sparsity();
    json["fraction_of_rows_computed"] = result.fraction_of_rows;
    json["tokens_per_second"] = result.tokens_per_second(median(result.seconds));
    json["seconds_median"] = median(result.seconds);
    json["seconds_min"] = quantile(result.seconds, 0.0);
    json["seconds_max"] = quantile(result.seconds, 1.0);
    json["speed_up_over_dense"] = ratio_json(row.dense, result);
    json["speed_up_over_libllama"] = ratio_json(row.libllama, result);
    json["speed_up_bound"] = row.bound > 0 ? nlohmann::ordered_json(row.bound) : nullptr;
    json["seconds"] = result.seconds;
    return json;
}

std::string ratio_text(const BenchResult *base, const BenchResult &of) {
    if (base == nullptr) {
        return "";
    }
    const SpeedRatio ratio = speed_ratio(*base, of);
    return fmt::format("{:.3f} ({:.3f}-{:.3f})", ratio.median, ratio.low, ratio.high);
}

void print_table(std::span<const Row> rows) {
    size_t width = 8;
    for (const Row &row : rows) {
        width = std::max(width, row.arm->name.size());
    }
    fmt::print("{:<20} {:<{}} {:>10} {:>9} {:>21} {:>21} {:>7}\n", "shape", "arm", width,
               "tokens/s", "spread", "over dense", "over libllama", "bound");
    for (const Row &row : rows) {
        const BenchResult &result = *row.result;
        const double mid = median(result.seconds);
        const double spread =
            (quantile(result.seconds, 0.75) - quantile(result.seconds, 0.25)) / mid;
        fmt::print("{:<20} {:<{}} {:>10.1f} {:>8.1f}% {:>21} {:>21} {:>7}\n",
                   shape_text(result.shape), row.arm->name, width, result.tokens_per_second(mid),
                   100 * spread, ratio_text(row.dense, result), ratio_text(row.libllama, result),
                   row.bound > 0 ? fmt::format("{:.3f}", row.bound) : "");
    }
    fmt::print("ratios: median (quartiles) of the repetitions' own ratios, above 1 is faster; "
               "spread: interquartile range\n");
}

double kv_bytes_per_element(const std::string &kv_type) {
    return kv_type == "f32" ? 4.0 : kv_type == "q8_0" ? 34.0 / 32.0 : 2.0;
}

void run_bench(const BenchArguments &arguments, const Argv &argv) {
    const std::vector<BenchShape> shapes = shapes_of(arguments);
    const int n_ctx = context_of(shapes);
    const int n_sequences = *std::max_element(arguments.batches.begin(), arguments.batches.end());
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const std::vector<Arm> arms = arms_of(arguments, *model);
    const std::vector<int32_t> tokens = tokens_of(arguments, *model, n_ctx);
    std::vector<std::unique_ptr<Engine>> engines;
    std::vector<std::unique_ptr<BenchArm>> runners;
    for (const Arm &arm : arms) {
        if (arm.is_libllama) {
            const int n_threads = arguments.model.n_threads > 0 ? arguments.model.n_threads
                                                                : default_n_threads();
            runners.push_back(make_libllama_arm(model->path(), n_ctx, n_sequences, n_threads));
        } else {
            engines.push_back(make_engine(*model, arguments.model, n_ctx, n_sequences));
            runners.push_back(make_engine_arm(*engines.back(), arm.plan));
        }
    }
    BenchOptions options;
    options.shapes = shapes;
    options.n_repetitions = arguments.n_repetitions;
    options.n_warmups = arguments.n_warmups;
    Progress progress("bench");
    const std::vector<BenchResult> results =
        bench(runners, tokens, options, [&](size_t n_done, size_t n_all) {
            progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
        });
    progress.finish();
    const std::vector<Row> rows =
        rows_of(results, arms, *model, kv_bytes_per_element(arguments.model.kv_type));
    nlohmann::ordered_json json = result_frame(
        argv, *model, engines.empty() ? nullptr : engines.front().get(), arguments.model);
    json["results"] = nlohmann::ordered_json::array();
    for (const Row &row : rows) {
        json["results"].push_back(row_json(row));
    }
    if (prints_text(arguments.json)) {
        print_table(rows);
    }
    write_json(arguments.json, json);
}

}  // namespace

void add_bench(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand(
        "bench", "speed of plans beside the dense model and libllama, interleaved in one run");
    const auto arguments = std::make_shared<BenchArguments>();
    BenchArguments &a = *arguments;
    const auto positive = CLI::Range(1, 1 << 20);
    command.add_option("--arms", a.arms, "comma-separated: libllama, dense, plan files")
        ->delimiter(',')
        ->capture_default_str()
        ->type_name("ARM,...");
    command.add_option("--prefill", a.prefills, "prompt lengths to time")
        ->delimiter(',')
        ->check(positive)
        ->type_name("N,...");
    command.add_option("--decode", a.n_decode, "tokens to decode one by one")
        ->check(positive)
        ->type_name("N");
    command.add_option("--depth", a.depths, "decode after prompts of these lengths")
        ->delimiter(',')
        ->check(CLI::Range(0, 1 << 20))
        ->capture_default_str()
        ->type_name("N,...");
    command.add_option("--batch", a.batches, "numbers of sequences at once")
        ->delimiter(',')
        ->check(CLI::Range(1, 1024))
        ->capture_default_str()
        ->type_name("N,...");
    command.add_option("--repetitions", a.n_repetitions, "timed runs of each arm on each shape")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str()
        ->type_name("N");
    command.add_option("--warmup", a.n_warmups, "runs before, not counted")
        ->check(CLI::Range(0, 100))
        ->capture_default_str()
        ->type_name("N");
    command.add_option("-f,--file", a.file, "the text: raw, or JSON Lines")->type_name("FILE");
    command.add_option("--field", a.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_flag("--random-tokens", a.random_tokens,
                     "random tokens instead of a text (the paper's protocol)");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &argv] { run_bench(*arguments, argv); });
}

}  // namespace orthorank
