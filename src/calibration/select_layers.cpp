#include "calibration/select_layers.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stopwatch.h"
#include "calibration/layer_losses.h"
#include "calibration/retrieval.h"
#include "graph/taylor.h"

namespace orthorank {

namespace {

constexpr double k_infinity = std::numeric_limits<double>::infinity();
constexpr double k_not_finished = std::numeric_limits<double>::quiet_NaN();
constexpr int k_plus_first = 4;
constexpr int k_plus_last = 2;
// Negative log-likelihoods are not below zero but for rounding; by far more than that.
constexpr double k_slack = 1e-3;

class Search {
 public:
    Search(Engine &engine, const Windows &windows, const LayerSelectionOptions &options)
        : options_(options),
          hparams_(engine.model().hparams()),
          losses_(engine, windows, options.brute_force ? 0 : options.budget_bytes,
                  options.keep_last, options.inherits),
          windows_(order_by_kind(windows.n_plain(), windows.size() - windows.n_plain())),
          n_kinds_(n_kinds_of(windows)),
          order_(options.done),
          n_before_(options.done.n_layer_evaluations),
          s_before_(options.done.seconds) {}

    LayerOrder run() {
        if (std::isnan(order_.dense_loss)) {
            measure_dense();
        }
        if (options_.method == SelectionMethod::sleb) {
            run_greedy();
        } else {
            run_one_shot();
        }
        return order_;
    }

 private:
    void measure_dense() {
        double loss = 0;
        for (size_t w : windows_) {
            check_stop();
            const double nll = losses_.base_nll(w);
            loss += nll;
            if (options_.race) {
                order_.race.base_losses.push_back(nll);
            }
        }
        if (!std::isfinite(loss)) {
            fail(ErrorKind::format,
                 "the dense model's loss on the calibration text is not a number");
        }
        order_.dense_loss = loss;
        count();
        report(0);
    }

    // A layer whose keys others read is not removed.
    std::vector<int> candidates() const {
        std::vector<int> layers =
            eligible_layers(options_.method, options_.plus, losses_.base().n_layers());
        if (options_.change.action == Action::skip) {
            std::erase_if(layers, [this](int il) { return hparams_.is_read(il); });
        }
        if (static_cast<int>(layers.size()) < options_.n_layers) {
            fail(ErrorKind::usage,
                 "{} layers were asked for, {} can be changed: others read the keys of the rest",
                 options_.n_layers, layers.size());
        }
        return layers;
    }

    void run_greedy() {
        std::vector<int> left = candidates();
        for (const SelectionRound &round : order_.rounds) {
            losses_.accept(round.layer, options_.change);
            left.erase(std::find(left.begin(), left.end(), round.layer));
            previous_ = round;
        }
        plan_work(left);
        while (static_cast<int>(order_.rounds.size()) < options_.n_layers) {
            SelectionRound round =
                options_.race && !options_.brute_force ? race(left) : compare(left);
            losses_.accept(round.layer, options_.change);
            left.erase(std::find(left.begin(), left.end(), round.layer));
            previous_ = round;
            order_.rounds.push_back(std::move(round));
            count();
            if (options_.on_round) {
                options_.on_round(order_);
            }
        }
    }

    void run_one_shot() {
        std::vector<int> layers = candidates();
        for (const SelectionRound &round : order_.rounds) {
            layers.erase(std::find(layers.begin(), layers.end(), round.layer));
        }
        for (int layer : layers) {
            n_work_ += work_of(layer);
        }
        for (int layer : layers) {
            SelectionRound round;
            round.layer = layer;
            round.loss = loss_of(layer, k_infinity);
            order_.rounds.push_back(round);
            count();
            if (options_.on_round) {
                options_.on_round(order_);
            }
        }
        order_.rounds = one_shot_order(order_.rounds);
    }

    // One round of SLEB: the candidate with the lowest loss, the lowest layer among equals.
    SelectionRound compare(const std::vector<int> &left) {
        SelectionRound round;
        round.candidates = left;
        round.losses.assign(left.size(), k_not_finished);
        double best = k_infinity;
        for (size_t i : likely_first(left)) {
            const double loss = loss_of(left[i], options_.brute_force ? k_infinity : best);
            round.losses[i] = loss;
            if (loss < best || (loss == best && left[i] < round.layer)) {
                best = loss;
                round.layer = left[i];
            }
        }
        return finished(std::move(round));
    }

    // The same by a lazy race.
    SelectionRound race(const std::vector<int> &left) {
        int64_t n_saved = 0;
        for (int layer : left) {
            n_saved += work_of(layer);
        }
        RaceResult result = run_race(left, n_kinds_, order_.race, [&](size_t i, int layer) {
            check_stop();
            std::vector<float> log_probs = losses_.log_probs(windows_[i], layer, options_.change);
            const int64_t cost = losses_.cost(layer, options_.change);
            n_saved -= cost;
            worked(cost);
            return log_probs;
        });
        worked(n_saved);
        SelectionRound round;
        round.layer = result.layer;
        round.candidates = left;
        round.losses = std::move(result.losses);
        return finished(std::move(round));
    }

    static SelectionRound finished(SelectionRound round) {
        if (round.layer < 0) {
            fail(ErrorKind::format, "no candidate's loss on the calibration text is a number");
        }
        const auto found = std::find(round.candidates.begin(), round.candidates.end(), round.layer);
        round.loss = round.losses[static_cast<size_t>(found - round.candidates.begin())];
        return round;
    }

    // Sum over windows; given up (NaN) once it must end above `limit`.
    double loss_of(int layer, double limit) {
        double loss = 0;
        const size_t n = windows_.size();
        const int64_t cost = losses_.cost(layer, options_.change);
        for (size_t w = 0; w < n; ++w) {
            check_stop();
            loss += losses_.nll(windows_[w], layer, options_.change);
            worked(cost);
            if (loss - k_slack * static_cast<double>(n - w - 1) > limit) {
                worked(cost * static_cast<int64_t>(n - w - 1));
                return w + 1 < n ? k_not_finished : loss;
            }
        }
        return loss;
    }

    // Indices into `left`: those that did well in the round before come first, so that others can
    // be given up early. The answer does not depend on it.
    std::vector<size_t> likely_first(const std::vector<int> &left) const {
        std::vector<double> keys(left.size(), 0.0);
        for (size_t i = 0; i < left.size(); ++i) {
            const auto found =
                std::find(previous_.candidates.begin(), previous_.candidates.end(), left[i]);
            if (found != previous_.candidates.end() && !options_.brute_force) {
                const double loss =
                    previous_.losses[static_cast<size_t>(found - previous_.candidates.begin())];
                keys[i] = std::isnan(loss) ? k_infinity : loss;
            }
        }
        std::vector<size_t> order(left.size());
        for (size_t i = 0; i < order.size(); ++i) {
            order[i] = i;
        }
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return keys[a] < keys[b]; });
        return order;
    }

    int64_t work_of(int layer) const {
        return losses_.cost(layer, options_.change) * static_cast<int64_t>(losses_.n_windows());
    }

    // What the rounds to come will take: later rounds have one candidate less, of average cost.
    void plan_work(const std::vector<int> &left) {
        int64_t all = 0;
        for (int layer : left) {
            all += work_of(layer);
        }
        const auto n_done = static_cast<int>(order_.rounds.size());
        for (int i = 0; i < options_.n_layers - n_done && !left.empty(); ++i) {
            n_work_ +=
                all * (static_cast<int64_t>(left.size()) - i) / static_cast<int64_t>(left.size());
        }
    }

    void worked(int64_t n) {
        n_worked_ += n;
        report(n_work_ > 0 ? static_cast<double>(n_worked_) / static_cast<double>(n_work_) : 0);
    }

    void report(double fraction) {
        if (options_.on_progress) {
            options_.on_progress(std::min(1.0, fraction), order_);
        }
    }

    void check_stop() const {
        if (options_.should_stop && options_.should_stop()) {
            throw Interrupted("interrupted");
        }
    }

    void count() {
        order_.n_layer_evaluations = n_before_ + losses_.n_layer_evaluations();
        order_.seconds = s_before_ + watch_.elapsed_s();
    }

    const LayerSelectionOptions &options_;
    const Hparams &hparams_;
    LayerLosses losses_;
    std::vector<size_t> windows_;  // in the order in which they are measured
    size_t n_kinds_;               // of windows; the first so many are one of each
    LayerOrder order_;
    SelectionRound previous_;  // the round before
    int64_t n_before_;         // of an earlier run
    double s_before_;
    Stopwatch watch_;
    int64_t n_work_ = 0;  // layer evaluations expected, for the progress bar
    int64_t n_worked_ = 0;
};

void check_options(const LayerSelectionOptions &options, int n_layers, size_t n_windows) {
    const int n_eligible =
        static_cast<int>(eligible_layers(options.method, options.plus, n_layers).size());
    if (options.change.action == Action::dense) {
        fail(ErrorKind::usage, "layers are removed or made selecting, not left as they are");
    }
    if (options.n_layers < 1 || options.n_layers > n_eligible) {
        fail(ErrorKind::usage, "{} layers to choose: of this model's {} layers 1 to {} can be",
             options.n_layers, n_layers, n_eligible);
    }
    if (n_windows == 0) {
        fail(ErrorKind::limit, "there is no window of calibration text");
    }
    if (options.race && options.method != SelectionMethod::sleb) {
        fail(ErrorKind::usage, "--race goes with method sleb only: the others need every loss");
    }
}

// Shortened LLaMA's other criterion: nothing is changed, gradients of the dense model are scored.
LayerOrder taylor_order(const Engine &engine, const Windows &windows,
                        const LayerSelectionOptions &options) {
    const Stopwatch watch;
    LayerOrder order;
    const TaylorScores taylor = taylor_scores(
        engine.model(), windows.tokens, windows.n_ctx, engine.n_threads(), [&](double fraction) {
            if (options.should_stop && options.should_stop()) {
                throw Interrupted("interrupted");
            }
            if (options.on_progress) {
                options.on_progress(fraction, order);
            }
        });
    for (int layer :
         eligible_layers(options.method, options.plus, engine.model().hparams().n_layers)) {
        SelectionRound round;
        round.layer = layer;
        round.loss = taylor.scores[static_cast<size_t>(layer)];
        order.rounds.push_back(round);
    }
    order.rounds = one_shot_order(order.rounds);
    order.dense_loss = taylor.loss * static_cast<double>(windows.size());
    // A forward and a backward pass.
    order.n_layer_evaluations =
        2 * static_cast<int64_t>(windows.size()) * engine.model().hparams().n_layers;
    order.seconds = watch.elapsed_s();
    return order;
}

}  // namespace

SelectionMethod selection_method_from_name(std::string_view name) {
    for (SelectionMethod method : {SelectionMethod::sleb, SelectionMethod::shortened_ppl,
                                   SelectionMethod::shortened_taylor}) {
        if (name == selection_method_name(method)) {
            return method;
        }
    }
    fail(ErrorKind::usage, "unknown method '{}' (known: sleb, shortened-ppl, shortened-taylor)",
         name);
}

const char *selection_method_name(SelectionMethod method) {
    switch (method) {
        case SelectionMethod::sleb:
            return "sleb";
        case SelectionMethod::shortened_ppl:
            return "shortened-ppl";
        case SelectionMethod::shortened_taylor:
            return "shortened-taylor";
    }
    return "sleb";
}

std::vector<int> eligible_layers(SelectionMethod method, bool plus, int n_layers) {
    int first = 0;
    int end = n_layers;
    if (method == SelectionMethod::sleb) {
        first = 1;
        end = n_layers - 1;
    } else if (plus) {
        first = k_plus_first;
        end = n_layers - k_plus_last;
    }
    std::vector<int> layers;
    for (int il = first; il < end; ++il) {
        layers.push_back(il);
    }
    return layers;
}

std::vector<SelectionRound> one_shot_order(const std::vector<SelectionRound> &measured) {
    std::vector<SelectionRound> order = measured;
    const auto key = [](const SelectionRound &round) {
        return std::isnan(round.loss) ? k_infinity : round.loss;
    };
    std::sort(order.begin(), order.end(), [&](const SelectionRound &a, const SelectionRound &b) {
        return key(a) != key(b) ? key(a) < key(b) : a.layer < b.layer;
    });
    return order;
}

int n_layers_for(double sparsity, const LayerPlan &change, int n_layers) {
    double saved = 1.0;
    if (change.action == Action::select) {
        constexpr double k_third = 1.0 / 3.0;
        saved = std::fabs(change.ratio - k_third) < 1e-3 ? 1.0 - k_third : 1.0 - change.ratio;
    }
    if (!(saved > 0.0)) {
        fail(ErrorKind::usage,
             "at ratio {} a layer saves nothing: no number of layers gives a "
             "sparsity; use --layers",
             change.ratio);
    }
    // 1e-9: 0.15 * 30 is half an integer in decimal, not in binary.
    return static_cast<int>(std::floor(sparsity / saved * n_layers + 0.5 + 1e-9));
}

LayerOrder select_layers(Engine &engine, const Windows &windows,
                         const LayerSelectionOptions &options) {
    check_options(options, engine.model().hparams().n_layers, windows.size());
    if (options.method == SelectionMethod::shortened_taylor) {
        if (!options.done.rounds.empty()) {
            return options.done;  // it is finished or was not begun
        }
        return taylor_order(engine, windows, options);
    }
    return Search(engine, windows, options).run();
}

}  // namespace orthorank
