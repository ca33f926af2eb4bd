#include "reproduction/measurements.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strict_json.h"
#include "base/strings.h"
#include "base/text_file.h"
#include "eval/longbench_scores.h"
#include "evaluation/line_log.h"
#include "evaluation/perplexity.h"
#include "model/vocab.h"
#include "session/generate.h"
#include "timing/bench.h"
#include "timing/bench_study.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t k_parallel = 16;  // sequences at once, as `eval` has them

std::string nll_file(const std::string &plan) {
    return "perplexity/" + plan + ".jsonl";
}

std::string sample_file(const char *tasks, const std::string &plan) {
    return std::string(tasks) + "/" + plan + ".jsonl";
}

std::vector<double> numbers_in(const std::string &lines, const std::string &path) {
    std::vector<double> numbers;
    for (const std::string &line : split_at(lines, '\n')) {
        if (line.empty()) {
            continue;
        }
        const Json number = parse_json(line, path);
        if (!number.is_number()) {
            fail(ErrorKind::format, "{}: a line is no number: remove the file", path);
        }
        numbers.push_back(number.get<double>());
    }
    return numbers;
}

Windows single_window(const Windows &windows, size_t i) {
    Windows one;
    one.n_ctx = windows.n_ctx;
    const std::span<const int32_t> tokens = windows.window(i);
    one.tokens.assign(tokens.begin(), tokens.end());
    return one;
}

// Tasks with what every other run of them needs too, so that batches are the same.
TaskValues run_tasks(Workshop &workshop, const std::vector<EvalTask> &tasks, const char *folder,
                     const std::string &name, const OnFraction &on_fraction) {
    if (tasks.empty()) {
        return {};
    }
    const Plan &plan = workshop.plan(name);
    Json run = {{k_plan_field + plan.name, plan_identity(plan)}};
    for (const EvalTask &task : tasks) {
        run[k_documents_field + task.name] = task.hash;
    }
    SampleLog log(workshop.file(sample_file(folder, name)), run);
    Engine &engine =
        workshop.engine(eval_context(tasks), eval_sequences(tasks, static_cast<int>(k_parallel)));
    EvalOptions options;
    options.n_parallel = k_parallel;
    options.on_progress = [&](size_t n_done, size_t n_all, const std::string &) {
        on_fraction(static_cast<double>(n_done) / static_cast<double>(n_all));
    };
    TaskValues values;
    for (const EvalScore &score : evaluate(engine, tasks, std::span(&plan, 1), log, options)) {
        values[tasks[score.task].name] = score.values;
    }
    return values;
}

size_t n_lines(const std::string &path) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        return 0;
    }
    const std::string text = read_text_file(path);
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

size_t n_samples(const std::vector<EvalTask> &tasks) {
    size_t n = 0;
    for (const EvalTask &task : tasks) {
        n += task.size();
    }
    return n;
}

double part(size_t n_done, size_t n_all) {
    return n_all == 0 ? 1.0
                      : std::min(1.0, static_cast<double>(n_done) / static_cast<double>(n_all));
}

Json bench_json(Workshop &workshop, const Plan &plan, const OnFraction &on_fraction) {
    const Budget &budget = workshop.budget();
    workshop.drop_engine();
    BenchOptions options;
    options.shapes = {{Phase::prefill, budget.speed_tokens, 0, budget.n_speed_sequences}};
    options.n_repetitions = budget.n_speed_repetitions;
    BenchTextSource source;
    source.is_random = true;
    const BenchText text = bench_text(source, workshop.model(), options.shapes);
    EngineOptions engine = workshop.options().engine;
    engine.n_ctx = budget.speed_tokens;
    engine.n_sequences = budget.n_speed_sequences;
    std::vector<std::unique_ptr<BenchArm>> arms;
    arms.push_back(make_engine_arm(workshop.model(), engine, workshop.plan("dense")));
    // Nothing is decoded, so policies that cannot decode are welcome.
    Plan of_prompt = plan;
    of_prompt.apply = Apply::prefill;
    arms.push_back(make_engine_arm(workshop.model(), engine, of_prompt));
    const std::vector<BenchResult> results =
        bench(arms, text.tokens, options,
              [&](size_t n_done, size_t n_all) { on_fraction(part(n_done, n_all)); });
    return {{"dense_seconds", results[0].seconds}, {"seconds", results[1].seconds}};
}

}  // namespace

void measure_perplexity(Workshop &workshop, const std::string &name,
                        const OnFraction &on_fraction) {
    if (!workshop.sources().c4) {
        return;
    }
    const Plan &plan = workshop.plan(name);
    const Windows &windows = workshop.sources().c4->windows;
    const std::string path = workshop.file(nll_file(name));
    LineLog log(path, {{"windows", hash_of(windows)}, {"plan", plan_identity(plan)}});
    std::vector<double> nlls = numbers_in(log.lines(), path);
    log.start();
    Engine &engine = workshop.engine(windows.n_ctx);
    for (size_t i = nlls.size(); i < windows.size(); ++i) {
        on_fraction(part(i, windows.size()));
        const Windows window = single_window(windows, i);
        const double nll =
            perplexity(engine, window, std::span(&plan, 1)).front().window_nlls.front();
        log.append(Json(nll).dump());
        nlls.push_back(nll);
    }
    workshop.findings().plans[name].window_nlls = nlls;
}

void measure_choices(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction) {
    workshop.findings().plans[plan].choices =
        run_tasks(workshop, workshop.sources().choices, "choices", plan, on_fraction);
}

void measure_truthful(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction) {
    workshop.findings().plans[plan].truthful =
        run_tasks(workshop, workshop.sources().truthful, "truthfulqa", plan, on_fraction);
}

void measure_longbench(Workshop &workshop, const std::string &name, const OnFraction &on_fraction) {
    const std::vector<LongBenchTask> &tasks = workshop.sources().longbench;
    if (tasks.empty()) {
        return;
    }
    const Plan &plan = workshop.plan(name);
    LongBenchRun run;
    run.output_dir = std::filesystem::path(workshop.file("longbench/any")).parent_path().string();
    run.run = {{"max_length", workshop.sources().longbench_length}};
    for (const LongBenchTask &task : tasks) {
        run.run[std::string(k_documents_field) + std::string(task.set->name)] = task.data.hash;
        make_prediction_folder(run.output_dir, plan);
    }
    run.on_progress = [&](size_t n_done, size_t n_all, std::string_view) {
        on_fraction(part(n_done, n_all));
    };
    Engine &engine = workshop.engine(longbench_context(tasks));
    const std::vector<std::vector<Prediction>> predictions =
        run_longbench(engine, tasks, std::span(&plan, 1), run);
    for (size_t t = 0; t < tasks.size(); ++t) {
        std::vector<double> &scores =
            workshop.findings().plans[name].longbench[std::string(tasks[t].set->name)];
        for (const Prediction &prediction : predictions[t]) {
            scores.push_back(100.0 * longbench_score(*tasks[t].set, prediction));
        }
    }
}

void measure_speed(Workshop &workshop, const std::string &name, const OnFraction &on_fraction) {
    const Plan &plan = workshop.plan(name);
    const Json found = workshop.kept("speed/" + name + ".json", {{"plan", plan_identity(plan)}},
                                     [&] { return bench_json(workshop, plan, on_fraction); });
    SpeedPair &speed = workshop.findings().plans[name].speed;
    speed.dense_seconds = found.at("dense_seconds").get<std::vector<double>>();
    speed.seconds = found.at("seconds").get<std::vector<double>>();
}

void write_text(Workshop &workshop, const std::string &name, const OnFraction &on_fraction) {
    const Plan &plan = workshop.plan(name);
    const int n_generated = workshop.budget().n_generated;
    const Json found = workshop.kept(
        "text/" + name + ".json", {{"plan", plan_identity(plan)}, {"prompt", k_text_prompt}}, [&] {
            const std::vector<int32_t> tokens =
                workshop.model().vocab().tokenize(k_text_prompt, /*add_bos=*/true);
            GenerateOptions options;
            options.plan = plan;
            options.n_predict = n_generated;
            options.sampler.temperature = 0;
            options.on_step = [&] { on_fraction(0.5); };
            const int n_ctx =
                context_for(tokens.size(), n_generated, workshop.model().hparams().n_ctx_train);
            return Json(generate(workshop.engine(n_ctx), tokens, options).text);
        });
    workshop.findings().plans[name].text = found.get<std::string>();
}

double part_kept(const Workshop &workshop, Measure measure, const std::string &plan) {
    const Sources &sources = workshop.sources();
    const auto is_there = [&](const std::string &name) {
        std::error_code ignored;
        return std::filesystem::exists(workshop.file(name), ignored) ? 1.0 : 0.0;
    };
    switch (measure) {
        case Measure::perplexity:
            return part(n_lines(workshop.file(nll_file(plan))),
                        sources.c4 ? sources.c4->windows.size() : 0);
        case Measure::choices:
            return part(n_lines(workshop.file(sample_file("choices", plan))),
                        n_samples(sources.choices));
        case Measure::truthful:
            return part(n_lines(workshop.file(sample_file("truthfulqa", plan))),
                        n_samples(sources.truthful));
        case Measure::longbench: {
            size_t n_done = 0;
            size_t n_all = 0;
            for (const LongBenchTask &task : sources.longbench) {
                n_done += n_lines(workshop.file("longbench/" + plan + "/" +
                                                std::string(task.set->name) + ".jsonl"));
                n_all += task.prompts.size();
            }
            return part(n_done, n_all);
        }
        case Measure::speed:
            return is_there("speed/" + plan + ".json");
        case Measure::text:
            return is_there("text/" + plan + ".json");
    }
    return 0;
}

}  // namespace orthorank
