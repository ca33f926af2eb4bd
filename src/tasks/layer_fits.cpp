#include "tasks/layer_fits.h"

#include <Eigen/Core>
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "model/attn_norm.h"
#include "select/selection.h"

namespace orthorank {

namespace {

using Rows = Eigen::Map<const Eigen::MatrixXf>;  // [n_embd, n]: a column per row of the text

Rows rows_of(std::span<const float> values, int n_embd) {
    return {values.data(), n_embd, static_cast<Eigen::Index>(values.size()) / n_embd};
}

// Hidden states that leave the layer, and what its sequence recorded.
class LastTap : public Tap {
 public:
    explicit LastTap(int boundary) : boundary_(boundary) {}
    bool wants_hidden(int boundary) const override { return boundary == boundary_; }
    void on_hidden(int, size_t, std::span<const float> hidden) override {
        hidden_.assign(hidden.begin(), hidden.end());
    }
    std::vector<float> take() { return std::move(hidden_); }

 private:
    int boundary_;
    std::vector<float> hidden_;
};

// One window, ready for the fits. The sink, row 0, is in no moments.
struct Window {
    std::vector<float> normed;      // a: [n_embd, n]
    std::vector<float> difference;  // D = h* - h: [n_embd, n]
    std::vector<float> scores;      // of the policy: [n]; none when nothing selects
};

struct LayerRun {
    std::vector<float> hidden;  // what leaves the layer
    std::vector<float> scores;  // empty when it is dense
};

LayerRun run_layer(Engine &engine, int layer, const LayerPlan &change,
                   std::span<const float> hidden) {
    Plan plan = dense_plan(engine.model().hparams().n_layers);
    plan.layers[static_cast<size_t>(layer)] = change;
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    LastTap tap(layer + 1);
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.hidden = hidden;
    chunk.outputs = Outputs::none;
    ForwardOptions options;
    options.tap = &tap;
    options.first_layer = layer;
    options.end_layer = layer + 1;
    engine.forward(std::span(&chunk, 1), options);
    return {tap.take(), sequence.record(layer).scores};
}

void add_all(Moments &moments, const Window &window, int n_embd) {
    const auto sink = static_cast<size_t>(n_embd);
    moments.add(std::span(window.normed).subspan(sink), std::span(window.difference).subspan(sink));
}

void add_rows(Moments &moments, const Window &window, std::span<const int32_t> rows, int n_embd) {
    const auto n = static_cast<size_t>(n_embd);
    std::vector<float> x;
    std::vector<float> y;
    x.reserve(rows.size() * n);
    y.reserve(rows.size() * n);
    for (int32_t row : rows) {
        const auto first = static_cast<std::ptrdiff_t>(static_cast<size_t>(row) * n);
        const auto end = first + n_embd;
        x.insert(x.end(), window.normed.begin() + first, window.normed.begin() + end);
        y.insert(y.end(), window.difference.begin() + first, window.difference.begin() + end);
    }
    moments.add(x, y);
}

// What computing each row gains over correcting it:
// g = |h*_{l+1} - corrected| - |h*_{l+1} - layer(h)|.
std::vector<float> gains(const Correction &correction, const Window &window,
                         std::span<const float> computed, const LayerRows &rows) {
    const int n = correction.n_embd;
    const Eigen::Map<const Eigen::VectorXf> bias(correction.bias.data(), n);
    Eigen::MatrixXf rest = rows_of(window.difference, n).colwise() - bias;
    if (correction.rank > 0) {
        const Eigen::Map<const Eigen::MatrixXf> down(correction.down.data(), n, correction.rank);
        const Eigen::Map<const Eigen::MatrixXf> up(correction.up.data(), correction.rank, n);
        rest -= up.transpose() * (down.transpose() * rows_of(window.normed, n));
    }
    const Eigen::MatrixXf error = rows_of(rows.target, n) - rows_of(computed, n);
    const Eigen::VectorXf gain =
        rest.colwise().norm().transpose() - error.colwise().norm().transpose();
    return {gain.data(), gain.data() + gain.size()};
}

// Moments of the rows that each choice leaves out; their ratios ascend, so that what a choice
// leaves out contains what the next one does.
std::vector<Moments> moments_left_out(std::span<const Window> windows,
                                      std::span<const LayerPlan> selecting, int n_embd) {
    std::vector<Moments> moments(selecting.size(), Moments(n_embd, n_embd));
    for (const Window &window : windows) {
        // By row: how many choices leave it out, which are the first so many.
        std::vector<size_t> n_left_out(window.scores.size(), selecting.size());
        for (size_t i = selecting.size(); i-- > 0;) {
            const LayerPlan &choice = selecting[i];
            for (int32_t row : pick_rows(choice.policy.order, window.scores, 0, choice.ratio)) {
                n_left_out[static_cast<size_t>(row)] = i;
            }
        }
        std::vector<std::vector<int32_t>> bands(selecting.size());
        for (size_t row = 1; row < n_left_out.size(); ++row) {
            if (n_left_out[row] > 0) {
                bands[n_left_out[row] - 1].push_back(static_cast<int32_t>(row));
            }
        }
        for (size_t i = 0; i < bands.size(); ++i) {
            add_rows(moments[i], window, bands[i], n_embd);
        }
    }
    for (size_t i = moments.size(); i-- > 1;) {
        moments[i - 1].merge(moments[i]);
    }
    return moments;
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

// One layer's fits, step by step.
class Fit {
 public:
    Fit(Engine &engine, const CorrectionOptions &options, int layer,
        std::span<const LayerRows> rows)
        : engine_(engine),
          options_(options),
          n_embd_(engine.model().hparams().n_embd),
          layer_(layer),
          rows_(rows),
          all_(n_embd_, n_embd_) {
        for (const LayerRows &r : rows_) {
            Window window;
            window.normed = attn_normed_rows(engine.model(), layer, r.hidden);
            window.difference.assign(r.target.begin(), r.target.end());
            for (size_t i = 0; i < window.difference.size(); ++i) {
                window.difference[i] -= r.hidden[i];
            }
            add_all(all_, window, n_embd_);
            windows_.push_back(std::move(window));
        }
        correct_all_ =
            std::make_shared<const Correction>(fit_correction(all_, options_.rank, options_.ridge));
    }

    std::vector<LayerPlan> run(std::span<const LayerPlan> choices) {
        const std::vector<LayerPlan> selecting = selecting_choices(choices);
        std::vector<CorrectionPtr> corrections;
        if (!selecting.empty()) {
            score(selecting.front());
            for (const Moments &moments : moments_left_out(windows_, selecting, n_embd_)) {
                corrections.push_back(std::make_shared<const Correction>(
                    fit_correction(moments, options_.rank, options_.ridge)));
            }
        }
        std::vector<LayerPlan> fitted(choices.begin(), choices.end());
        for (LayerPlan &choice : fitted) {
            const auto at = std::find(selecting.begin(), selecting.end(), choice);
            choice.correction = at == selecting.end()
                                    ? correct_all_
                                    : corrections[static_cast<size_t>(at - selecting.begin())];
            choice.probe = choice.action == Action::select ? probe_ : nullptr;
        }
        return fitted;
    }

 private:
    void score(const LayerPlan &choice) {
        if (choice.policy.score == ScoreKind::probe) {
            fit_and_score();
            return;
        }
        for (size_t w = 0; w < windows_.size(); ++w) {
            windows_[w].scores = run_layer(engine_, layer_, choice, rows_[w].hidden).scores;
        }
    }

    // The probe: what computing a row gains where all rows are corrected.
    void fit_and_score() {
        Moments moments(n_embd_, 1);
        for (size_t w = 0; w < windows_.size(); ++w) {
            const LayerRun dense = run_layer(engine_, layer_, LayerPlan{}, rows_[w].hidden);
            const std::vector<float> g = gains(*correct_all_, windows_[w], dense.hidden, rows_[w]);
            moments.add(std::span(windows_[w].normed).subspan(static_cast<size_t>(n_embd_)),
                        std::span(g).subspan(1));
        }
        probe_ = std::make_shared<const Probe>(fit_probe(moments, options_.ridge).probe);
        const Eigen::Map<const Eigen::RowVectorXf> weight(probe_->weight.data(), n_embd_);
        for (Window &window : windows_) {
            const Eigen::RowVectorXf scores = weight * rows_of(window.normed, n_embd_);
            window.scores.assign(scores.data(), scores.data() + scores.size());
        }
    }

    Engine &engine_;
    const CorrectionOptions &options_;
    int n_embd_;
    int layer_;
    std::span<const LayerRows> rows_;
    std::vector<Window> windows_;
    Moments all_;  // of all rows but the sinks
    CorrectionPtr correct_all_;
    ProbePtr probe_;
};

}  // namespace

std::vector<LayerPlan> LayerFitter::fit(int layer, std::span<const LayerRows> windows,
                                        std::span<const LayerPlan> choices) {
    CHECK(!windows.empty());
    return Fit(engine_, options_, layer, windows).run(choices);
}

}  // namespace orthorank
