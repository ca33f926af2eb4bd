#include "reproduction/work_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/stopwatch.h"
#include "evaluation/windows.h"
#include "reproduction/measurements.h"
#include "reproduction/observations.h"
#include "reproduction/searches.h"
#include "timing/bounds.h"

namespace orthorank {

namespace {

// How much longer a decoded token takes than one of a prompt: its weights are read for it alone, or
// for it and the others that are decoded with it.
constexpr double k_decode_alone = 10;
constexpr double k_decode_together = 4;
// Of a pass over all layers: what a candidate of a search takes, which begins at its layer.
constexpr double k_candidate_part = 0.55;
// Of the candidates of a search: those that a race does measure.
constexpr double k_race_part = 0.35;

// Makes the list. Costs are in FLOPs of the dense model.
class WorkList {
 public:
    WorkList(Workshop &workshop, const Needs &needs)
        : workshop_(workshop),
          needs_(needs),
          shape_(model_shape(workshop.model())),
          rate_(seconds_per_flop(workshop)) {}

    std::vector<Work> made() {
        add_observations();
        add_searches();
        for (const auto &[measure, plan] : needs_.measures) {
            if (is_possible(measure, plan)) {
                add_measure(measure, plan);
            }
        }
        return std::move(works_);
    }

 private:
    double flops(int64_t n, HeadRows head = HeadRows::all) const {
        return prefill_flops(shape_, dense_plan(shape_.n_layers()), n, head);
    }
    // Of one token among a few hundred.
    double token_flops() const { return flops(256, HeadRows::last) / 256; }

    void add(std::string name, double n_flops, std::function<void(const OnFraction &)> run) {
        works_.push_back({std::move(name), std::max(n_flops, 0.0) * rate_, std::move(run)});
    }

    bool has_calibration() const { return !workshop_.sources().calibration.empty(); }

    std::set<std::string> plans() const {
        std::set<std::string> plans = needs_.plans();
        if (needs_.trace) {
            plans.insert("orthorank-20");
        }
        return plans;
    }

    void add_observations() {
        const Sources &sources = workshop_.sources();
        if (needs_.analysis && !sources.analysis_text.empty()) {
            const auto n = static_cast<int64_t>(sources.analysis_text.size());
            add("analysis of a dense pass", 3 * flops(n),
                [this_ = &workshop_](const OnFraction &f) { observe_states(*this_, f); });
        }
        if (needs_.sweep && sources.sweep) {
            const auto n = static_cast<double>(sources.sweep->size());
            add("sweep of single layers",
                (1 - part_of_sweep_kept(workshop_)) * n * 4 * shape_.n_layers() * k_candidate_part *
                    flops(sources.sweep->n_ctx),
                [this_ = &workshop_](const OnFraction &f) { observe_sweep(*this_, f); });
        }
    }

    void add_searches() {
        if (!has_calibration()) {
            return;
        }
        const std::set<std::string> wanted = plans();
        std::vector<std::string> searches;
        for (const std::string &plan : wanted) {
            const std::string &search = workshop_.recipes().plan(plan).search;
            if (!search.empty() && std::count(searches.begin(), searches.end(), search) == 0) {
                searches.push_back(search);
            }
        }
        for (const std::string &search : searches) {
            const int n_rounds = rounds_needed(workshop_.recipes(), wanted, search);
            add(fmt::format("search {}", search), search_flops(search, n_rounds),
                [this_ = &workshop_, search, n_rounds, wanted](const OnFraction &f) {
                    run_search(*this_, search, n_rounds, wanted, f);
                });
        }
        if (needs_.trace && !workshop_.sources().analysis_text.empty()) {
            add("rows of a text", token_flops() * 40,
                [this_ = &workshop_](const OnFraction &) { observe_rows(*this_); });
        }
    }

    double search_flops(const std::string &search, int n_rounds) const {
        const SearchRecipe &recipe = workshop_.recipes().search(search);
        const Windows &windows = workshop_.sources().calibration.at(recipe.n_tokens).windows;
        const auto window = static_cast<double>(windows.size()) * flops(windows.n_ctx);
        const int n_layers = shape_.n_layers();
        const int n_kept = rounds_kept(workshop_, search);
        if (recipe.method != SelectionMethod::sleb) {
            return window * k_candidate_part * std::max(n_layers - n_kept, 0);
        }
        double n_candidates = 0;
        for (int round = n_kept; round < n_rounds; ++round) {
            n_candidates += n_layers - 2 - round;
        }
        const double part = workshop_.budget().races ? k_race_part : 1.0;
        return window * k_candidate_part * part * n_candidates;
    }

    bool is_possible(Measure measure, const std::string &plan) const {
        const Sources &sources = workshop_.sources();
        if (plan != "dense" && !has_calibration()) {
            return false;
        }
        switch (measure) {
            case Measure::perplexity:
                return sources.c4.has_value();
            case Measure::choices:
                return !sources.choices.empty();
            case Measure::truthful:
                return !sources.truthful.empty();
            case Measure::longbench:
                return !sources.longbench.empty();
            case Measure::speed:
            case Measure::text:
                break;
        }
        return true;
    }

    void add_measure(Measure measure, const std::string &plan) {
        using Run = void (*)(Workshop &, const std::string &, const OnFraction &);
        const auto add_run = [&](const char *what, Run run) {
            add(fmt::format("{}: {}", what, plan),
                (1 - part_kept(workshop_, measure, plan)) * measure_flops(measure),
                [this_ = &workshop_, plan, run](const OnFraction &f) { run(*this_, plan, f); });
        };
        switch (measure) {
            case Measure::perplexity:
                return add_run("perplexity", measure_perplexity);
            case Measure::choices:
                return add_run("five tasks", measure_choices);
            case Measure::truthful:
                return add_run("TruthfulQA", measure_truthful);
            case Measure::longbench:
                return add_run("LongBench", measure_longbench);
            case Measure::speed:
                return add_run("throughput", measure_speed);
            case Measure::text:
                return add_run("text", write_text);
        }
    }

    double task_flops(const std::vector<EvalTask> &tasks) const {
        double n_tokens = 0;
        for (const EvalTask &task : tasks) {
            for (const DocumentInputs &document : task.inputs) {
                for (const auto &input : document) {
                    n_tokens += static_cast<double>(input.ids.size());
                }
            }
            n_tokens += static_cast<double>(task.questions.size() * task.max_new_tokens) *
                        k_decode_together;
        }
        return n_tokens * token_flops();
    }

    double measure_flops(Measure measure) const {
        const Sources &sources = workshop_.sources();
        const Budget &budget = workshop_.budget();
        switch (measure) {
            case Measure::perplexity:
                return static_cast<double>(sources.c4->windows.size()) *
                       flops(sources.c4->windows.n_ctx);
            case Measure::choices:
                return task_flops(sources.choices);
            case Measure::truthful:
                return task_flops(sources.truthful);
            case Measure::longbench: {
                double sum = 0;
                for (const LongBenchTask &task : sources.longbench) {
                    for (const std::vector<int32_t> &prompt : task.prompts) {
                        sum += flops(static_cast<int64_t>(prompt.size()), HeadRows::last) +
                               static_cast<double>(task.set->max_new_tokens) * k_decode_alone *
                                   token_flops();
                    }
                }
                return sum;
            }
            case Measure::speed:
                return 2.0 * (budget.n_speed_repetitions + 1) * budget.n_speed_sequences *
                       flops(budget.speed_tokens, HeadRows::last);
            case Measure::text:
                break;
        }
        return budget.n_generated * k_decode_alone * token_flops();
    }

    Workshop &workshop_;
    const Needs &needs_;
    ModelShape shape_;
    double rate_;
    std::vector<Work> works_;
};

}  // namespace

std::vector<Work> work_list(Workshop &workshop, const Needs &needs) {
    return WorkList(workshop, needs).made();
}

double seconds_per_flop(Workshop &workshop) {
    constexpr int k_tokens = 512;
    const Hparams &hparams = workshop.model().hparams();
    const int n = std::min(k_tokens, hparams.n_ctx_train);
    std::vector<int32_t> tokens;
    for (int i = 0; i < n; ++i) {
        tokens.push_back(static_cast<int32_t>((int64_t{7919} * i + 1) % hparams.n_vocab));
    }
    Engine &engine = workshop.engine(n);
    Sequence sequence = engine.new_sequence(workshop.plan("dense"));
    window_nll(engine, sequence, tokens);  // brings weights and buffers to where they are used
    const Stopwatch watch;
    window_nll(engine, sequence, tokens);
    const ModelShape shape = model_shape(workshop.model());
    return watch.elapsed_s() / prefill_flops(shape, dense_plan(shape.n_layers()), n, HeadRows::all);
}

}  // namespace orthorank
