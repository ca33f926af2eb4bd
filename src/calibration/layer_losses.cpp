#include "calibration/layer_losses.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

LayerLosses::LayerLosses(Engine &engine, const Windows &windows, int64_t budget_bytes,
                         int keep_last, bool inherits)
    : engine_(engine),
      windows_(windows),
      base_(dense_plan(engine.model().hparams().n_layers)),
      inherits_(inherits),
      kept_(windows.size()),
      records_(windows.size()) {
    base_.keep_last = keep_last;
    const Hparams &hparams = engine.model().hparams();
    const int64_t bytes_per_boundary = static_cast<int64_t>(windows.tokens.size()) *
                                       hparams.n_embd * static_cast<int64_t>(sizeof(float));
    const int64_t n_wanted = hparams.start_of(hparams.n_layers - 1);
    const int64_t n_affordable = bytes_per_boundary > 0 ? budget_bytes / bytes_per_boundary : 0;
    if (n_affordable <= 0 || n_wanted <= 0) {
        return;
    }
    const auto step = static_cast<int>((n_wanted + n_affordable - 1) / n_affordable);
    for (int boundary = 1; boundary <= n_wanted; boundary += step) {
        boundaries_.push_back(boundary);
    }
}

int LayerLosses::last_kept_boundary(int layer) const {
    const auto after = std::upper_bound(boundaries_.begin(), boundaries_.end(), layer);
    return after == boundaries_.begin() ? 0 : *(after - 1);
}

Plan LayerLosses::changed(int layer, const LayerPlan &change) const {
    Plan plan = base_;
    plan.layers[static_cast<size_t>(layer)] = change;
    return inherits_ ? with_inherited_rows(std::move(plan)) : plan;
}

int64_t LayerLosses::cost(int layer, const LayerPlan &change) const {
    const Plan plan = changed(layer, change);
    return n_layers_computed(plan, last_kept_boundary(layer), plan.n_layers());
}

// Runs the base up to the last boundary that is wanted, from the last one that is there, and keeps
// everything on the way: the next candidates need it too.
void LayerLosses::keep_base(size_t window, int layer) {
    HiddenStates &kept = kept_[window];
    const int wanted = last_kept_boundary(layer);
    if (wanted == 0 || kept.count(wanted) != 0) {
        return;
    }
    const int first = kept.empty() ? 0 : kept.rbegin()->first;
    CHECK(first < wanted);  // what is kept has no gaps
    Stretch stretch;
    stretch.first = first;
    stretch.end = boundaries_.back();
    stretch.tokens = windows_.window(window);
    if (first > 0) {
        stretch.hidden = kept.at(first);
    }
    stretch.n_continuation = windows_.continuation_of(window);
    stretch.boundaries.assign(std::upper_bound(boundaries_.begin(), boundaries_.end(), first),
                              boundaries_.end());
    stretch.on_hidden = keep_in(kept);
    stretch.inherited = &records_[window];
    Sequence sequence = engine_.new_sequence(base_, Apply::prefill);
    run_stretch(engine_, sequence, stretch);
    const std::vector<int> selecting = base_.layers_with(Action::select);
    if (inherits_ && !selecting.empty() && selecting.front() >= first) {
        records_[window] = sequence.record(selecting.front());
    }
    n_layer_evaluations_ += n_layers_computed(base_, first, stretch.end);
}

WindowStart LayerLosses::start_for(size_t window, int layer) {
    keep_base(window, layer);
    WindowStart start;
    start.n_continuation = windows_.continuation_of(window);
    start.layer = last_kept_boundary(layer);
    if (start.layer > 0) {
        start.hidden = kept_[window].at(start.layer);
        start.inherited = &records_[window];
    }
    return start;
}

double LayerLosses::base_nll(size_t window) {
    const WindowStart start = start_for(window, base_.n_layers() - 1);
    Sequence sequence = engine_.new_sequence(base_, Apply::prefill);
    n_layer_evaluations_ += n_layers_computed(base_, start.layer, base_.n_layers());
    return window_nll(engine_, sequence, windows_.window(window), start);
}

std::vector<float> LayerLosses::log_probs(size_t window, int layer, const LayerPlan &change) {
    const WindowStart start = start_for(window, layer);
    const Plan plan = changed(layer, change);
    Sequence sequence = engine_.new_sequence(plan, Apply::prefill);
    n_layer_evaluations_ += n_layers_computed(plan, start.layer, plan.n_layers());
    return window_log_probs(engine_, sequence, windows_.window(window), start);
}

double LayerLosses::nll(size_t window, int layer, const LayerPlan &change) {
    return -mean(log_probs(window, layer, change));
}

void LayerLosses::accept(int layer, const LayerPlan &change) {
    base_ = changed(layer, change);
    for (HiddenStates &kept : kept_) {
        kept.erase(kept.upper_bound(layer), kept.end());
    }
}

}  // namespace orthorank
