#include "calibration/fit_corrections.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "calibration/continuation_weights.h"
#include "calibration/hidden_store.h"
#include "engine/stretch.h"

namespace orthorank {

namespace {

class Walk {
 public:
    Walk(Engine &engine, const Windows &windows, const Plan &plan, const FitOptions &options)
        : engine_(engine),
          windows_(windows),
          options_(options),
          correction_(options.correction),
          plan_(plan),
          dense_plan_(dense_plan(plan.n_layers())),
          converted_(dense_plan_),
          n_windows_(windows.n_plain()),
          store_(2 * n_windows_,
                 static_cast<size_t>(windows.n_ctx - windows.n_continuation) *
                     static_cast<size_t>(engine.model().hparams().n_embd),
                 options.budget_bytes),
          records_(n_windows_) {
        correction_.keep_last = plan_.keep_last;
        converted_.keep_last = plan_.keep_last;
        for (int il = 0; il < plan_.n_layers(); ++il) {
            LayerPlan &layer = plan_.layers[static_cast<size_t>(il)];
            layer.correction = nullptr;
            layer.probe = nullptr;
            if (layer.action != Action::dense) {
                check_has_fits(engine_.model().hparams(), il);
                layers_.push_back(il);
            }
        }
    }

    Plan run() {
        if (layers_.empty()) {
            fail(ErrorKind::usage, "{}: every layer is dense, there is nothing to correct",
                 plan_.name);
        }
        for (size_t w = 0; correction_.attention_part > 0.0 && w < n_windows_; ++w) {
            check_stop();
            weights_.push_back(continuation_weights(
                engine_, windows_.window(w), windows_.n_continuation, correction_.attention_part));
        }
        LayerFitter fitter(engine_, correction_);
        for (size_t i = 0; i < layers_.size(); ++i) {
            const int il = layers_[i];
            arrive_at(il);
            const LayerFit fit =
                fitter
                    .fit(
                        il, n_windows_, [this, il](size_t w) { return rows_of(il, w); },
                        std::span(&plan_.layers[static_cast<size_t>(il)], 1))
                    .front();
            plan_.layers[static_cast<size_t>(il)] = fit.plan;
            converted_.layers[static_cast<size_t>(il)] = fit.plan;
            if (options_.on_layer) {
                options_.on_layer(il, fit);
            }
            if (options_.on_progress) {
                options_.on_progress(static_cast<double>(i + 1) /
                                     static_cast<double>(layers_.size()));
            }
        }
        return plan_;
    }

 private:
    size_t dense_slot(size_t window) const { return 2 * window; }
    size_t slot(size_t window) const { return 2 * window + 1; }

    // Both streams: the dense one to what leaves the layer, the other one to what enters it. Before
    // the first changed layer they are one.
    void arrive_at(int il) {
        for (size_t w = 0; w < n_windows_; ++w) {
            check_stop();
            if (at_ < 0) {
                pass(w, dense_plan_, 0, dense_slot(w), {{il, slot(w)}, {il + 1, dense_slot(w)}});
            } else {
                pass(w, dense_plan_, dense_at_, dense_slot(w), {{il + 1, dense_slot(w)}});
                pass(w, converted_, at_, slot(w), {{il, slot(w)}});
            }
        }
        at_ = il;
        dense_at_ = il + 1;
    }

    // One window from a boundary (0: from its tokens, else from what its slot holds) to the last of
    // those that are to be kept.
    void pass(size_t window, const Plan &plan, int first, size_t from,
              const std::map<int, size_t> &keep) {
        Stretch stretch;
        stretch.first = first;
        stretch.end = keep.rbegin()->first;
        stretch.tokens = windows_.prompt_of(window);
        if (first > 0) {
            stretch.hidden = store_.read(from, scratch_);
        }
        for (const auto &[boundary, slot] : keep) {
            stretch.boundaries.push_back(boundary);
        }
        stretch.on_hidden = [&](int boundary, size_t, std::span<const float> hidden) {
            store_.write(keep.at(boundary), hidden);
        };
        stretch.inherited = &records_[window];
        Sequence sequence = engine_.new_sequence(plan, Apply::prefill);
        run_stretch(engine_, sequence, stretch);
        for (int il = stretch.end - 1; il >= first; --il) {
            if (plan.layers[static_cast<size_t>(il)].action == Action::select) {
                records_[window] = sequence.record(il);
                break;
            }
        }
    }

    LayerRows rows_of(int il, size_t window) {
        check_stop();
        LayerRows rows = {store_.read(slot(window), scratch_),
                          store_.read(dense_slot(window), dense_scratch_), records_[window].chosen};
        if (!weights_.empty()) {
            rows.weights = weights_[window][static_cast<size_t>(il)];
        }
        rows.tokens = windows_.prompt_of(window);
        return rows;
    }

    void check_stop() const {
        if (options_.should_stop && options_.should_stop()) {
            throw Interrupted("interrupted");
        }
    }

    Engine &engine_;
    const Windows &windows_;
    const FitOptions &options_;
    CorrectionOptions correction_;
    Plan plan_;
    Plan dense_plan_;
    Plan converted_;           // those layers of plan_ that are fitted, the others dense
    std::vector<int> layers_;  // the changed ones, ascending
    size_t n_windows_;
    HiddenStore store_;  // by window: the dense stream, the other one
    // By window: what the last selecting layer that the other stream passed decided.
    std::vector<LayerRecord> records_;
    // By window and layer: continuation_weights(); empty: rows count alike.
    std::vector<std::vector<std::vector<float>>> weights_;
    int at_ = -1;  // the boundary where the other stream stands; -1: before the start
    int dense_at_ = 0;
    std::vector<float> scratch_;
    std::vector<float> dense_scratch_;
};

}  // namespace

Plan fit_corrections(Engine &engine, const Windows &windows, const Plan &plan,
                     const FitOptions &options) {
    if (windows.n_plain() == 0) {
        fail(ErrorKind::limit, "there is no window of calibration text");
    }
    return Walk(engine, windows, plan, options).run();
}

}  // namespace orthorank
