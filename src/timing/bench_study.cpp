#include "timing/bench_study.h"

#include <algorithm>
#include <memory>
#include <random>

#include "base/error.h"
#include "eval/streams.h"
#include "evaluation/windows.h"
#include "model/vocab.h"

namespace orthorank {

namespace {

std::vector<int32_t> random_text(const Model &model, size_t n) {
    std::mt19937_64 random(0);
    std::uniform_int_distribution<int32_t> token(0, model.hparams().n_vocab - 1);
    std::vector<int32_t> tokens(n);
    std::generate(tokens.begin(), tokens.end(), [&] { return token(random); });
    return tokens;
}

// One process's beside those of the processes before it.
void append(const BenchResult &of_process, BenchResult &result) {
    result.seconds.insert(result.seconds.end(), of_process.seconds.begin(),
                          of_process.seconds.end());
    result.facts = of_process.facts;
    result.peak_resident_bytes =
        std::max(result.peak_resident_bytes, of_process.peak_resident_bytes);
    for (size_t i = 0; result.operations && of_process.operations && i < k_n_operations; ++i) {
        result.operations->seconds[i] += of_process.operations->seconds[i];
    }
}

}  // namespace

std::vector<BenchShape> bench_shapes(const BenchLengths &lengths) {
    std::vector<BenchShape> shapes;
    for (int n_sequences : lengths.batches) {
        for (int n : lengths.prefills) {
            shapes.push_back({Phase::prefill, n, 0, n_sequences});
        }
        for (int n : lengths.first_tokens) {
            shapes.push_back({Phase::prefill, n, 0, n_sequences, /*takes_token=*/true});
        }
        for (int depth : lengths.depths) {
            for (int n : lengths.decodes) {
                shapes.push_back({Phase::decode, n, depth, n_sequences});
            }
        }
    }
    if (shapes.empty()) {
        fail(ErrorKind::usage, "nothing to run: give --prefill N, --ttft N or --decode N");
    }
    return shapes;
}

int context_of(std::span<const BenchShape> shapes) {
    int n_ctx = 0;
    for (const BenchShape &shape : shapes) {
        n_ctx = std::max(n_ctx, tokens_needed(shape));
    }
    return n_ctx;
}

BenchText bench_text(const BenchTextSource &source, const Model &model,
                     std::span<const BenchShape> shapes) {
    const int n_ctx = context_of(shapes);
    if (n_ctx > model.hparams().n_ctx_train) {
        fail(ErrorKind::limit, "{} tokens do not fit into the model's context of {}", n_ctx,
             model.hparams().n_ctx_train);
    }
    BenchText text;
    if (source.is_random) {
        size_t n = 0;
        for (const BenchShape &shape : shapes) {
            n = std::max(n, static_cast<size_t>(tokens_needed(shape)) *
                                static_cast<size_t>(shape.n_sequences));
        }
        text.source = "random tokens";
        text.tokens = random_text(model, n);
        return text;
    }
    const bool has_file = !source.file.empty();
    text.source = has_file ? source.file : "documentation";
    text.tokens = model.vocab().tokenize(
        has_file ? read_text(source.file, source.field) : read_pages(source.pages_dir), true);
    for (const BenchShape &shape : shapes) {
        tokens_of_sequences(text.tokens, shape);  // throws now what would throw later
    }
    return text;
}

std::vector<BenchResult> measure(const Model &model, const BenchStudy &study, const BenchText &text,
                                 const OnBench &on_progress) {
    BenchOptions options;
    options.shapes = study.shapes;
    options.n_repetitions = study.n_repetitions;
    options.n_warmups = study.n_warmups;
    EngineOptions of_all = study.engine;
    of_all.n_ctx = context_of(study.shapes);
    for (const BenchShape &shape : study.shapes) {
        of_all.n_sequences = std::max(of_all.n_sequences, shape.n_sequences);
    }
    std::vector<std::unique_ptr<BenchArm>> runners;
    for (const NamedArm &arm : study.arms) {
        if (arm.is_libllama) {
            runners.push_back(make_libllama_arm(model, of_all));
            continue;
        }
        if (arm.plan.is_dense() || study.has_breakdown) {
            options.observed_arms.push_back(runners.size());
        }
        runners.push_back(make_engine_arm(model, of_all, arm.plan));
    }
    return bench(runners, text.tokens, options, on_progress);
}

std::vector<BenchResult> merge_processes(std::span<const std::vector<BenchResult>> processes) {
    std::vector<BenchResult> merged = processes.front();
    for (const std::vector<BenchResult> &process : processes.subspan(1)) {
        CHECK(process.size() == merged.size());
        for (size_t i = 0; i < merged.size(); ++i) {
            append(process[i], merged[i]);
        }
    }
    for (BenchResult &result : merged) {
        for (size_t i = 0; result.operations && i < k_n_operations; ++i) {
            result.operations->seconds[i] /= static_cast<double>(processes.size());
        }
    }
    return merged;
}

std::vector<PerplexityResult> measure_quality(const Model &model, const BenchStudy &study,
                                              const QualityText &text,
                                              const OnPerplexity &on_progress) {
    std::vector<Plan> plans = {dense_plan(model.hparams().n_layers)};
    for (const NamedArm &arm : study.arms) {
        if (!arm.plan.is_dense()) {
            plans.push_back(arm.plan);
        }
    }
    Windows windows;
    windows.n_ctx = std::min(text.n_ctx, model.hparams().n_ctx_train);
    const std::optional<int32_t> start = model.vocab().window_start();
    add_windows(windows, model.vocab().tokenize(read_text(text.file, text.field), !start),
                static_cast<size_t>(text.n_windows), start);
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "{}: fewer than the {} tokens of one window (--quality-ctx)",
             text.file, windows.n_ctx);
    }
    EngineOptions options = study.engine;
    options.n_ctx = windows.n_ctx;
    options.n_sequences = 1;
    Engine engine(model, options);
    return perplexity(engine, windows, plans, on_progress);
}

}  // namespace orthorank
