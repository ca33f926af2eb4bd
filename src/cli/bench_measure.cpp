// Of `orthorank bench`: arms, text and the measuring in this process.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>

#include "base/error.h"
#include "base/progress.h"
#include "base/text_file.h"
#include "base/threads.h"
#include "cli/bench.h"
#include "eval/streams.h"
#include "evaluation/windows.h"
#include "model/backend_info.h"
#include "model/vocab.h"

namespace orthorank {

namespace {

// Tokens per sequence that the largest shape needs.
int context_of(std::span<const BenchShape> shapes) {
    int n_ctx = 0;
    for (const BenchShape &shape : shapes) {
        n_ctx = std::max(n_ctx, tokens_needed(shape));
    }
    return n_ctx;
}

// This program's own pages, one after the other: a text that is always there.
std::string documentation() {
    std::vector<std::string> paths;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(ORTHORANK_DOCS_DIR, ignored)) {
        if (entry.path().extension() == ".md") {
            paths.push_back(entry.path().string());
        }
    }
    if (paths.empty()) {
        fail(ErrorKind::file, "no documentation at {} to take as text: give one with -f",
             ORTHORANK_DOCS_DIR);
    }
    std::sort(paths.begin(), paths.end());
    std::string text;
    for (const std::string &path : paths) {
        text += read_text_file(path);
    }
    return text;
}

std::vector<int32_t> random_text(const Model &model, size_t n) {
    std::mt19937_64 random(0);
    std::uniform_int_distribution<int32_t> token(0, model.hparams().n_vocab - 1);
    std::vector<int32_t> tokens(n);
    std::generate(tokens.begin(), tokens.end(), [&] { return token(random); });
    return tokens;
}

NamedArm arm_of(const std::string &text, const Model &model) {
    NamedArm arm;
    arm.name = text;
    arm.is_libllama = text == "libllama";
    arm.plan = dense_plan(model.hparams().n_layers);
    if (text == "libllama" || text == "dense") {
        return arm;
    }
    if (!text.starts_with("sparsity:") && !std::filesystem::exists(text)) {
        fail(ErrorKind::usage,
             "unknown arm '{}' (known: libllama, dense, sparsity:20%, or a plan file)", text);
    }
    arm.plan = read_plan_for(model, text);
    arm.name = arm.plan.name;
    return arm;
}

}  // namespace

int n_threads_of(const BenchArguments &arguments) {
    return arguments.model.n_threads > 0 ? arguments.model.n_threads : default_n_threads();
}

std::vector<BenchShape> bench_shapes(const BenchArguments &arguments) {
    std::vector<BenchShape> shapes;
    for (int n_sequences : arguments.batches) {
        for (int n : arguments.prefills) {
            shapes.push_back({Phase::prefill, n, 0, n_sequences});
        }
        for (int n : arguments.first_tokens) {
            shapes.push_back({Phase::prefill, n, 0, n_sequences, /*takes_token=*/true});
        }
        for (int depth : arguments.depths) {
            for (int n : arguments.decodes) {
                shapes.push_back({Phase::decode, n, depth, n_sequences});
            }
        }
    }
    if (shapes.empty()) {
        fail(ErrorKind::usage, "nothing to run: give --prefill N, --ttft N or --decode N");
    }
    return shapes;
}

std::vector<NamedArm> bench_arms(const BenchArguments &arguments, const Model &model) {
    std::vector<NamedArm> arms;
    for (size_t i = 0; i < arguments.arms.size(); ++i) {
        const std::string &text = arguments.arms[i];
        NamedArm arm = arm_of(text, model);
        for (size_t j = 0; j < i; ++j) {
            if (arguments.arms[j] == text) {
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

BenchText bench_text(const BenchArguments &arguments, const Model &model) {
    const std::vector<BenchShape> shapes = bench_shapes(arguments);
    const int n_ctx = context_of(shapes);
    if (n_ctx > model.hparams().n_ctx_train) {
        fail(ErrorKind::limit, "{} tokens do not fit into the model's context of {}", n_ctx,
             model.hparams().n_ctx_train);
    }
    BenchText text;
    if (arguments.random_tokens) {
        size_t n = 0;
        for (const BenchShape &shape : shapes) {
            n = std::max(n, static_cast<size_t>(tokens_needed(shape)) *
                                static_cast<size_t>(shape.n_sequences));
        }
        text.source = "random tokens";
        text.tokens = random_text(model, n);
        return text;
    }
    const bool has_file = !arguments.file.empty();
    text.source = has_file ? arguments.file : "documentation";
    text.tokens = model.vocab().tokenize(
        has_file ? read_text(arguments.file, arguments.field) : documentation(), true);
    for (const BenchShape &shape : shapes) {
        tokens_of_sequences(text.tokens, shape);  // throws now what would throw later
    }
    return text;
}

Measured measure(const BenchArguments &arguments, const Model &model,
                 std::span<const NamedArm> arms, const BenchText &text) {
    BenchOptions options;
    options.shapes = bench_shapes(arguments);
    options.n_repetitions = arguments.n_repetitions;
    options.n_warmups = arguments.n_warmups;
    const int n_ctx = context_of(options.shapes);
    const int n_sequences = *std::max_element(arguments.batches.begin(), arguments.batches.end());
    const EngineOptions of_all = engine_options(arguments.model, n_ctx, n_sequences);
    std::vector<std::unique_ptr<BenchArm>> runners;
    for (const NamedArm &arm : arms) {
        if (arm.is_libllama) {
            runners.push_back(make_libllama_arm(model, of_all));
            continue;
        }
        if (arm.plan.is_dense() || arguments.has_breakdown) {
            options.observed_arms.push_back(runners.size());
        }
        runners.push_back(make_engine_arm(model, of_all, arm.plan));
    }
    Progress progress("bench");
    Measured measured;
    measured.results = bench(runners, text.tokens, options, [&](size_t n_done, size_t n_all) {
        progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
    });
    progress.finish();
    measured.engine = {{"device", device_name(model)},
                       {"threads", n_threads_of(arguments)},
                       {"n_ctx", n_ctx},
                       {"kv_type", arguments.model.kv_type},
                       {"kernels", kernels_of(arguments.model)}};
    return measured;
}

std::vector<PerplexityResult> measure_quality(const BenchArguments &arguments, const Model &model,
                                              std::span<const NamedArm> arms) {
    if (arguments.quality_file.empty()) {
        return {};
    }
    std::vector<Plan> plans = {dense_plan(model.hparams().n_layers)};
    for (const NamedArm &arm : arms) {
        if (!arm.plan.is_dense()) {
            plans.push_back(arm.plan);
        }
    }
    Windows windows;
    windows.n_ctx = std::min(arguments.quality_ctx, model.hparams().n_ctx_train);
    const std::string text = read_text(arguments.quality_file, arguments.field);
    add_windows(windows, model.vocab().tokenize(text, true),
                static_cast<size_t>(arguments.n_quality_windows));
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "{}: fewer than the {} tokens of one window (--quality-ctx)",
             arguments.quality_file, windows.n_ctx);
    }
    const std::unique_ptr<Engine> engine = make_engine(model, arguments.model, windows.n_ctx);
    Progress progress("quality");
    return perplexity(*engine, windows, plans,
                      [&](size_t n_done, size_t n_all, std::span<const PerplexityResult>) {
                          progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
                      });
}

}  // namespace orthorank
