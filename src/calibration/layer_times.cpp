#include "calibration/layer_times.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "engine/stretch.h"

namespace orthorank {

namespace {

constexpr int k_n_layers = 4;
constexpr int k_repetitions = 5;

// Numbers that are none of a model, but small and different from each other: equal scores would
// pick the first rows, whose attention costs least.
std::vector<float> made_up(size_t n) {
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) {
        values[i] = 1e-3F * (hash_score(0, 0, static_cast<int64_t>(i)) - 0.5F);
    }
    return values;
}

LayerPlan corrected(LayerPlan choice, int n_embd, int rank) {
    const auto n = static_cast<size_t>(n_embd);
    Correction correction;
    correction.n_embd = n_embd;
    correction.rank = rank;
    correction.down = made_up(n * static_cast<size_t>(rank));
    correction.up = made_up(n * static_cast<size_t>(rank));
    correction.bias = made_up(n);
    choice.correction = std::make_shared<const Correction>(std::move(correction));
    if (choice.action == Action::select && choice.policy.score == ScoreKind::probe) {
        choice.probe = std::make_shared<const Probe>(Probe{made_up(n)});
    }
    return choice;
}

double prefill_ms(Engine &engine, std::span<const int32_t> tokens) {
    Sequence sequence =
        engine.new_sequence(dense_plan(engine.model().hparams().n_layers), Apply::prefill);
    const Stopwatch watch;
    forward_last(engine, sequence, tokens, Phase::prefill);
    return watch.elapsed_ms();
}

// The middle layers of a model, run alone.
class MiddleLayers {
 public:
    MiddleLayers(Engine &engine, std::span<const int32_t> tokens, const LayerTimeOptions &options)
        : engine_(engine), options_(options), n_layers_(engine.model().hparams().n_layers) {
        const int n = std::min(k_n_layers, std::max(1, n_layers_ - 2));
        first_ = std::max(1, engine.model().hparams().start_of((n_layers_ - n) / 2));
        end_ = std::min(n_layers_, first_ + n);
        HiddenStates entering;
        Stretch stretch;
        stretch.end = first_;
        stretch.tokens = tokens;
        stretch.boundaries = {first_};
        stretch.on_hidden = keep_in(entering);
        run_stretch(engine, dense_plan(n_layers_), stretch);
        hidden_ = std::move(entering.at(first_));
        tokens_ = tokens;
    }

    // Milliseconds for one of them, all being like this.
    double run_ms(const LayerPlan &like) {
        const Plan plan = timed_plan(n_layers_, first_, end_, like, options_);
        Sequence sequence = engine_.new_sequence(plan, Apply::prefill);
        Stretch stretch;
        stretch.first = first_;
        stretch.end = end_;
        stretch.tokens = tokens_;
        stretch.hidden = hidden_;
        const Stopwatch watch;
        run_stretch(engine_, sequence, stretch);
        return watch.elapsed_ms() / (end_ - first_);
    }

 private:
    Engine &engine_;
    const LayerTimeOptions &options_;
    int n_layers_;
    int first_;
    int end_;
    std::span<const int32_t> tokens_;
    std::vector<float> hidden_;
};

}  // namespace

Plan timed_plan(int n_layers, int first, int end, const LayerPlan &like,
                const LayerTimeOptions &options) {
    Plan plan = dense_plan(n_layers);
    std::fill(plan.layers.begin() + first, plan.layers.begin() + end, like);
    plan.keep_last = options.keep_last;
    return options.inherits ? with_inherited_rows(std::move(plan)) : plan;
}

double time_saved(const LayerTimes &times, std::span<const int> choices) {
    double saved_ms = 0;
    for (int choice : choices) {
        saved_ms +=
            choice < 0 ? 0.0 : times.dense_ms - times.choices_ms[static_cast<size_t>(choice)];
    }
    return saved_ms / times.prefill_ms;
}

LayerTimes measure_layer_times(Engine &engine, std::span<const int32_t> prompt,
                               std::span<const LayerPlan> choices,
                               const LayerTimeOptions &options) {
    std::vector<LayerPlan> arms(1);  // dense, then the choices
    for (const LayerPlan &choice : choices) {
        arms.push_back(corrected(choice, engine.model().hparams().n_embd, options.rank));
    }
    MiddleLayers layers(engine, prompt, options);
    std::vector<std::vector<double>> times(arms.size());
    std::vector<double> prefills;
    // The first round of runs builds graphs and is not counted.
    for (int i = -1; i < k_repetitions; ++i) {
        for (size_t arm = 0; arm < arms.size(); ++arm) {
            if (options.should_stop && options.should_stop()) {
                throw Interrupted("interrupted");
            }
            const double ms = layers.run_ms(arms[arm]);
            if (i >= 0) {
                times[arm].push_back(ms);
            }
        }
        const double ms = prefill_ms(engine, prompt);
        if (i >= 0) {
            prefills.push_back(ms);
        }
    }
    LayerTimes result;
    result.prefill_ms = median(prefills);
    result.dense_ms = median(times[0]);
    for (size_t arm = 1; arm < arms.size(); ++arm) {
        result.choices_ms.push_back(median(times[arm]));
    }
    return result;
}

}  // namespace orthorank
