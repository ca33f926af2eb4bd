#include "calibration/layer_fits.h"

#include <Eigen/Core>
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "calibration/eigen_threads.h"
#include "engine/stretch.h"
#include "model/attn_norm.h"
#include "select/selection.h"

namespace orthorank {

namespace {

using Rows = Eigen::Map<const Eigen::MatrixXf>;  // [n_embd, n]: a column per row of the text

Rows rows_of(std::span<const float> values, int n_embd) {
    return {values.data(), n_embd, static_cast<Eigen::Index>(values.size()) / n_embd};
}

// One window, ready for the fits. The sink, row 0, is in no moments.
struct Window {
    std::vector<float> normed;      // a: [n_embd, n]
    std::vector<float> difference;  // D = h* - h: [n_embd, n]
    std::vector<float> weights;     // [n], or empty
};

struct LayerRun {
    std::vector<float> hidden;  // what leaves the layer
    std::vector<float> scores;  // empty when it is dense
};

LayerRun run_layer(Engine &engine, int layer, const LayerPlan &change, const LayerRows &rows) {
    Plan plan = dense_plan(engine.model().hparams().n_layers);
    plan.layers[static_cast<size_t>(layer)] = change;
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    HiddenStates left;
    Stretch stretch;
    stretch.first = layer;
    stretch.end = layer + 1;
    stretch.tokens = rows.tokens;
    stretch.hidden = rows.hidden;
    stretch.boundaries = {layer + 1};
    stretch.on_hidden = keep_in(left);
    run_stretch(engine, sequence, stretch);
    return {std::move(left.at(layer + 1)), sequence.record(layer).scores};
}

// How many rows of a window come before its last `keep_last` ones.
size_t n_not_kept(size_t n_rows, int keep_last) {
    return n_rows - std::min(n_rows, static_cast<size_t>(keep_last));
}

// Of the numbers of all rows, `n` each, those of the rows before `end` but the sink.
std::span<const float> rows_before(size_t end, std::span<const float> values, int n) {
    const auto n_each = static_cast<size_t>(n);
    return values.empty() || end < 2 ? std::span<const float>()
                                     : values.subspan(n_each, (end - 1) * n_each);
}

void add_before(size_t end, Moments &moments, const Window &window, int n_embd) {
    moments.add(rows_before(end, window.normed, n_embd),
                rows_before(end, window.difference, n_embd), rows_before(end, window.weights, 1));
}

void add_rows(Moments &moments, const Window &window, std::span<const int32_t> rows, int n_embd) {
    const auto n = static_cast<size_t>(n_embd);
    std::vector<float> x;
    std::vector<float> y;
    std::vector<float> weights;
    x.reserve(rows.size() * n);
    y.reserve(rows.size() * n);
    for (int32_t row : rows) {
        const auto first = static_cast<std::ptrdiff_t>(static_cast<size_t>(row) * n);
        const auto end = first + n_embd;
        x.insert(x.end(), window.normed.begin() + first, window.normed.begin() + end);
        y.insert(y.end(), window.difference.begin() + first, window.difference.begin() + end);
        if (!window.weights.empty()) {
            weights.push_back(window.weights[static_cast<size_t>(row)]);
        }
    }
    moments.add(x, y, weights);
}

// What computing each row gains over correcting it:
// g = weight * (|h*_{l+1} - corrected| - |h*_{l+1} - layer(h)|).
std::vector<float> gains(const Correction &correction, const Window &window,
                         std::span<const float> computed, const LayerRows &rows) {
    const int n = correction.n_embd;
    const EigenThreads threads(static_cast<double>(window.normed.size()) * correction.rank);
    const Eigen::Map<const Eigen::VectorXf> bias(correction.bias.data(), n);
    Eigen::MatrixXf rest = rows_of(window.difference, n).colwise() - bias;
    if (correction.rank > 0) {
        const Eigen::Map<const Eigen::MatrixXf> down(correction.down.data(), n, correction.rank);
        const Eigen::Map<const Eigen::MatrixXf> up(correction.up.data(), correction.rank, n);
        rest -= up.transpose() * (down.transpose() * rows_of(window.normed, n));
    }
    const Eigen::MatrixXf error = rows_of(rows.target, n) - rows_of(computed, n);
    Eigen::VectorXf gain = rest.colwise().norm().transpose() - error.colwise().norm().transpose();
    if (!window.weights.empty()) {
        gain.array() *= Eigen::Map<const Eigen::ArrayXf>(window.weights.data(), gain.size());
    }
    return {gain.data(), gain.data() + gain.size()};
}

// The rows that the choices leave out, the sink not among them. Ratios ascend, so what a choice
// leaves out contains what the next one does: band i has the rows that i + 1 choices leave out.
std::vector<std::vector<int32_t>> bands_left_out(std::span<const float> all_scores, int keep_last,
                                                 std::span<const LayerPlan> selecting) {
    const std::span<const float> scores =
        all_scores.first(n_not_kept(all_scores.size(), keep_last));
    std::vector<size_t> n_left_out(scores.size(), selecting.size());  // by row
    for (size_t i = selecting.size(); i-- > 0;) {
        const LayerPlan &choice = selecting[i];
        for (int32_t row : pick_rows(choice.policy.order, scores, 0, choice.ratio)) {
            n_left_out[static_cast<size_t>(row)] = i;
        }
    }
    std::vector<std::vector<int32_t>> bands(selecting.size());
    for (size_t row = 1; row < n_left_out.size(); ++row) {
        if (n_left_out[row] > 0) {
            bands[n_left_out[row] - 1].push_back(static_cast<int32_t>(row));
        }
    }
    return bands;
}

// Those rows, the sink not among them.
std::vector<int32_t> rows_left_out(std::span<const uint8_t> computed) {
    std::vector<int32_t> rows;
    for (size_t row = 1; row < computed.size(); ++row) {
        if (computed[row] == 0) {
            rows.push_back(static_cast<int32_t>(row));
        }
    }
    return rows;
}

// The choices that select, by ascending ratio.
std::vector<LayerPlan> selecting_choices(std::span<const LayerPlan> choices) {
    std::vector<LayerPlan> selecting;
    for (const LayerPlan &choice : choices) {
        CHECK(choice.action != Action::dense);
        if (choice.action == Action::select) {
            selecting.push_back(choice);
            CHECK(choice.policy == selecting.front().policy);
        }
    }
    std::sort(selecting.begin(), selecting.end(),
              [](const LayerPlan &a, const LayerPlan &b) { return a.ratio < b.ratio; });
    return selecting;
}

// A correction and what it explains.
struct Fitted {
    CorrectionPtr correction;
    double explained = 0;
};

// One layer's fits, step by step; each step asks for the rows of all windows again.
class Fit {
 public:
    Fit(Engine &engine, const CorrectionOptions &options, int layer, size_t n_windows,
        const LayerSource &rows)
        : engine_(engine),
          options_(options),
          n_embd_(engine.model().hparams().n_embd),
          layer_(layer),
          n_windows_(n_windows),
          rows_(rows) {}

    std::vector<LayerFit> run(std::span<const LayerPlan> choices) {
        const std::vector<LayerPlan> selecting = selecting_choices(choices);
        std::vector<Fitted> corrections;
        if (!selecting.empty()) {
            if (selecting.front().policy.score == ScoreKind::probe) {
                fit_probe_of_gain();
            }
            for (const Moments &moments : moments_left_out(selecting)) {
                corrections.push_back(moments.n_rows() > 0 ? fitted(moments) : of_all());
            }
        }
        std::vector<LayerFit> fits;
        for (const LayerPlan &choice : choices) {
            const auto at = std::find(selecting.begin(), selecting.end(), choice);
            const Fitted &best = at == selecting.end()
                                     ? of_all()
                                     : corrections[static_cast<size_t>(at - selecting.begin())];
            LayerFit fit{choice, best.explained};
            fit.plan.correction = best.correction;
            if (choice.action == Action::select && probe_ != nullptr) {
                fit.plan.probe = probe_;
                fit.r_squared = r_squared_;
            }
            fits.push_back(std::move(fit));
        }
        return fits;
    }

 private:
    Window window_of(const LayerRows &rows) const {
        Window window;
        window.normed = attn_normed_rows(engine_.model(), layer_, rows.hidden);
        window.difference.assign(rows.target.begin(), rows.target.end());
        for (size_t i = 0; i < window.difference.size(); ++i) {
            window.difference[i] -= rows.hidden[i];
        }
        window.weights.assign(rows.weights.begin(), rows.weights.end());
        return window;
    }

    Fitted fitted(const Moments &moments) const {
        const auto correction = std::make_shared<const Correction>(
            fit_correction(moments, options_.rank, options_.ridge));
        return {correction, explained_by(*correction, moments)};
    }

    size_t n_rows_of(const LayerRows &rows) const {
        return rows.hidden.size() / static_cast<size_t>(n_embd_);
    }

    // Of all rows but the sinks and the last `keep_last` of each window.
    Fitted of_rows_not_kept(int keep_last) const {
        Moments moments(n_embd_, n_embd_);
        for (size_t w = 0; w < n_windows_; ++w) {
            const LayerRows rows = rows_(w);
            add_before(n_not_kept(n_rows_of(rows), keep_last), moments, window_of(rows), n_embd_);
        }
        return fitted(moments);
    }

    // Of all rows but the sinks.
    const Fitted &of_all() {
        if (of_all_.correction == nullptr) {
            of_all_ = of_rows_not_kept(0);
        }
        return of_all_;
    }

    // The probe: what computing a row gains where all are corrected, of those that are not kept.
    void fit_probe_of_gain() {
        const Fitted base =
            options_.keep_last > 0 ? of_rows_not_kept(options_.keep_last) : of_all();
        Moments moments(n_embd_, 1);
        for (size_t w = 0; w < n_windows_; ++w) {
            const LayerRows rows = rows_(w);
            const Window window = window_of(rows);
            const LayerRun dense = run_layer(engine_, layer_, LayerPlan{}, rows);
            const std::vector<float> g = gains(*base.correction, window, dense.hidden, rows);
            const size_t end = n_not_kept(g.size(), options_.keep_last);
            moments.add(rows_before(end, window.normed, n_embd_), rows_before(end, g, 1));
        }
        const ProbeFit fit = fit_probe(moments, options_.ridge);
        probe_ = std::make_shared<const Probe>(fit.probe);
        r_squared_ = fit.r_squared;
    }

    std::vector<float> scores_of(const Window &window, const LayerRows &rows,
                                 const LayerPlan &choice) const {
        if (probe_ == nullptr) {
            LayerPlan scores_only = choice;
            scores_only.ratio = 0;  // no row need be computed
            return run_layer(engine_, layer_, scores_only, rows).scores;
        }
        const Eigen::Map<const Eigen::RowVectorXf> weight(probe_->weight.data(), n_embd_);
        const Eigen::RowVectorXf scores = weight * rows_of(window.normed, n_embd_);
        return {scores.data(), scores.data() + scores.size()};
    }

    // Moments of the rows that each choice leaves out.
    std::vector<Moments> moments_left_out(std::span<const LayerPlan> selecting) const {
        std::vector<Moments> moments(selecting.size(), Moments(n_embd_, n_embd_));
        for (size_t w = 0; w < n_windows_; ++w) {
            const LayerRows rows = rows_(w);
            const Window window = window_of(rows);
            if (selecting.front().policy.score == ScoreKind::inherit) {
                add_rows(moments.front(), window, rows_left_out(rows.computed), n_embd_);
                continue;
            }
            const auto bands = bands_left_out(scores_of(window, rows, selecting.front()),
                                              options_.keep_last, selecting);
            for (size_t i = 0; i < bands.size(); ++i) {
                add_rows(moments[i], window, bands[i], n_embd_);
            }
        }
        for (size_t i = moments.size(); i-- > 1;) {
            moments[i - 1].merge(moments[i]);
        }
        return moments;
    }

    Engine &engine_;
    const CorrectionOptions &options_;
    int n_embd_;
    int layer_;
    size_t n_windows_;
    const LayerSource &rows_;
    Fitted of_all_;
    ProbePtr probe_;
    double r_squared_ = 0;
};

}  // namespace

void check_has_fits(const Hparams &hparams, int layer) {
    const int first = hparams.start_of(layer);
    if (first < layer) {
        fail(
            ErrorKind::usage,
            "layers behind layer {} are not computed from their inputs alone, since some read keys "
            "of earlier ones: nothing is fitted to layer {}, it must stay as it is",
            first, layer);
    }
}

std::vector<LayerFit> LayerFitter::fit(int layer, size_t n_windows, const LayerSource &rows,
                                       std::span<const LayerPlan> choices) {
    CHECK(n_windows > 0);
    return Fit(engine_, options_, layer, n_windows, rows).run(choices);
}

std::vector<LayerPlan> LayerFitter::fit(int layer, std::span<const LayerRows> windows,
                                        std::span<const LayerPlan> choices) {
    std::vector<LayerPlan> plans;
    for (LayerFit &fit : fit(
             layer, windows.size(), [&](size_t w) { return windows[w]; }, choices)) {
        plans.push_back(std::move(fit.plan));
    }
    return plans;
}

}  // namespace orthorank
