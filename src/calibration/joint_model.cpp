#include "calibration/joint_model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/statistics.h"
#include "calibration/continuation_weights.h"
#include "session/log_probs.h"

namespace orthorank {

JointModel::JointModel(Engine &engine, const Windows &windows, const JointModelOptions &options)
    : engine_(engine),
      windows_(windows),
      options_(options),
      fitter_(engine, options.correction),
      n_layers_(engine.model().hparams().n_layers),
      base_(dense_plan(n_layers_)),
      choices_(static_cast<size_t>(n_layers_), -1),
      dense_(windows.size()),
      kept_(windows.size()),
      records_(windows.size()),
      dense_logits_(windows.size()),
      fitted_(static_cast<size_t>(n_layers_)) {
    if (n_layers_ < 3) {
        fail(ErrorKind::usage,
             "the model has {} layers: the first and the last are never changed, none is left",
             n_layers_);
    }
    check_has_fits(engine.model().hparams(), n_layers_ - 1);
    base_.keep_last = options.keep_last;
    choose_windows();
    check_memory();
    for (size_t w = 0; w < windows_.size(); ++w) {
        check_stop();
        run_dense(w);
    }
    weights_.resize(windows_.size());
    for (size_t w : fit_windows_) {
        dense_[w] = kept_[w];
        if (options_.correction.attention_part > 0.0) {
            check_stop();
            weights_[w] = continuation_weights(engine_, windows_.window(w), windows_.n_continuation,
                                               options_.correction.attention_part);
            n_layer_evaluations_ += n_layers_;
        }
    }
}

// Evenly spread, so that every file of a calibration in equal parts measures and fits.
void JointModel::choose_windows() {
    const size_t n = windows_.n_plain();
    const auto n_kl = static_cast<size_t>(options_.n_kl_windows);
    if (n <= n_kl) {
        fail(ErrorKind::usage,
             "{} windows of calibration text: {} measure the divergence and the others fit, so "
             "give more text or fewer --kl-windows",
             n, n_kl);
    }
    for (size_t i : order_by_kind(n_kl, windows_.size() - n)) {
        kl_windows_.push_back(i < n_kl ? (2 * i + 1) * n / (2 * n_kl) : n + (i - n_kl));
    }
    for (size_t w = 0; w < n; ++w) {
        if (!is_measuring(w)) {
            fit_windows_.push_back(w);
        }
    }
}

bool JointModel::is_measuring(size_t window) const {
    return std::find(kl_windows_.begin(), kl_windows_.end(), window) != kl_windows_.end();
}

void JointModel::check_memory() const {
    const Hparams &hparams = engine_.model().hparams();
    const int64_t stream = int64_t{windows_.n_ctx} * hparams.n_embd * (n_layers_ - 1);
    int64_t logits = 0;
    for (size_t w : kl_windows_) {
        logits += int64_t{windows_.n_targets_of(w)} * hparams.n_vocab;
    }
    const int64_t fits = static_cast<int64_t>(options_.choices.size()) * (n_layers_ - 2) *
                         hparams.n_embd * (2 * int64_t{options_.correction.rank} + 2);
    const auto n_kl = static_cast<int64_t>(kl_windows_.size());
    const auto n_fit = static_cast<int64_t>(fit_windows_.size());
    const int64_t bytes =
        static_cast<int64_t>(sizeof(float)) * (stream * (2 * n_fit + n_kl) + logits + fits);
    if (bytes > options_.memory_bytes) {
        fail(ErrorKind::limit,
             "the joint search keeps {} MiB of hidden states and logits, --memory is {} MiB: fewer "
             "or shorter windows take less",
             (bytes >> 20) + 1, options_.memory_bytes >> 20);
    }
}

// Windows that fit need their prompt alone.
void JointModel::run_dense(size_t window) {
    const bool measures = is_measuring(window);
    Stretch stretch;
    stretch.end = measures ? -1 : n_layers_ - 1;
    stretch.tokens = measures ? windows_.window(window) : windows_.prompt_of(window);
    stretch.n_continuation = measures ? windows_.continuation_of(window) : 0;
    stretch.boundaries = boundaries_behind(0, n_layers_ - 1);
    stretch.on_hidden = keep_in(kept_[window]);
    const auto n_vocab = static_cast<size_t>(engine_.model().hparams().n_vocab);
    const auto n_targets = static_cast<size_t>(windows_.n_targets_of(window));
    std::vector<float> logits;
    logits.reserve(measures ? n_vocab * (n_targets + 1) : 0);
    if (measures) {
        stretch.on_logits = [&](const LogitsBlock &block) {
            logits.insert(logits.end(), block.logits, block.logits + block.n_rows * block.n_vocab);
        };
    }
    run_stretch(engine_, base_, stretch);
    if (measures) {
        logits.resize(n_targets * n_vocab);  // the last row predicts nothing
        dense_logits_[window] = std::move(logits);
    }
    n_layer_evaluations_ += measures ? n_layers_ : n_layers_ - 1;
}

void JointModel::run_base(size_t window, int first, int end) {
    Stretch stretch;
    stretch.first = first;
    stretch.end = end;
    stretch.tokens = is_measuring(window) ? windows_.window(window) : windows_.prompt_of(window);
    stretch.hidden = kept_[window].at(first);
    stretch.n_continuation = is_measuring(window) ? windows_.continuation_of(window) : 0;
    stretch.boundaries = boundaries_behind(first, end);
    stretch.on_hidden = keep_in(kept_[window]);
    stretch.inherited = &records_[window];
    Sequence sequence = engine_.new_sequence(base_, Apply::prefill);
    run_stretch(engine_, sequence, stretch);
    const bool selects = base_.layers[static_cast<size_t>(first)].action == Action::select;
    if (options_.inherits && selects && !has_earlier_selection(first)) {
        records_[window] = sequence.record(first);
    }
    n_layer_evaluations_ += n_layers_computed(base_, first, end);
}

std::vector<int> JointModel::layers() const {
    std::vector<int> layers;
    for (int il = 1; il + 1 < n_layers_; ++il) {
        layers.push_back(il);
    }
    return layers;
}

void JointModel::restore(std::span<const JointMove> moves) {
    int first = n_layers_ - 1;
    for (const JointMove &move : moves) {
        choices_[static_cast<size_t>(move.layer)] = move.choice;
        first = std::min(first, move.layer);
    }
    walk(first);
}

void JointModel::accept(const JointMove &move) {
    restore(std::span(&move, 1));
}

void JointModel::walk(int first) {
    for (int il = first + 1; il < n_layers_; ++il) {
        fitted_[static_cast<size_t>(il)].clear();
    }
    while (first < n_layers_ - 1) {
        const auto il = static_cast<size_t>(first);
        if (choices_[il] >= 0) {
            base_.layers[il] = fitted(first)[static_cast<size_t>(choices_[il])];
        }
        int end = first + 1;
        while (end < n_layers_ - 1 && choices_[static_cast<size_t>(end)] < 0) {
            ++end;
        }
        for (size_t w = 0; w < windows_.size(); ++w) {
            check_stop();
            run_base(w, first, end);
        }
        first = end;
    }
}

LayerRows JointModel::fit_rows(int layer, size_t window) const {
    check_stop();
    LayerRows rows = {kept_[window].at(layer),
                      dense_[window].at(layer + 1),
                      records_[window].chosen,
                      {},
                      windows_.prompt_of(window)};
    if (!weights_[window].empty()) {
        rows.weights = weights_[window][static_cast<size_t>(layer)];
    }
    return rows;
}

const std::vector<LayerPlan> &JointModel::fitted(int layer) {
    std::vector<LayerPlan> &plans = fitted_[static_cast<size_t>(layer)];
    if (plans.empty()) {
        const auto rows = [&](size_t i) { return fit_rows(layer, fit_windows_[i]); };
        std::vector<LayerPlan> fits;
        for (LayerFit &fit : fitter_.fit(layer, fit_windows_.size(), rows, choices_for(layer))) {
            fits.push_back(std::move(fit.plan));
        }
        plans = std::move(fits);
        n_layer_evaluations_ += static_cast<int64_t>(fit_windows_.size());
    }
    return plans;
}

bool JointModel::has_earlier_selection(int layer) const {
    for (int il = 0; il < layer; ++il) {
        const int choice = choices_[static_cast<size_t>(il)];
        if (choice >= 0 && options_.choices[static_cast<size_t>(choice)].action == Action::select) {
            return true;
        }
    }
    return false;
}

std::vector<LayerPlan> JointModel::choices_for(int layer) const {
    std::vector<LayerPlan> choices = options_.choices;
    if (options_.inherits && has_earlier_selection(layer)) {
        for (LayerPlan &choice : choices) {
            choice.policy =
                choice.action == Action::select ? policy_from_name("inherit") : choice.policy;
        }
    }
    return choices;
}

std::vector<float> JointModel::divergences_of(const Plan &plan, size_t window, int first) {
    const size_t w = kl_windows_[window];
    const std::vector<float> &dense = dense_logits_[w];
    std::vector<float> divergences(static_cast<size_t>(windows_.n_targets_of(w)));
    // The row that predicts the first target.
    const int64_t first_row = windows_.n_ctx - 1 - windows_.n_targets_of(w);
    Stretch stretch;
    stretch.first = first;
    stretch.tokens = windows_.window(w);
    stretch.hidden = kept_[w].at(first);
    stretch.inherited = &records_[w];
    stretch.n_continuation = windows_.continuation_of(w);
    stretch.on_logits = [&](const LogitsBlock &block) {
        const auto n_vocab = static_cast<size_t>(block.n_vocab);
        const int64_t first_target = block.first_row - first_row;
        const auto end = std::min<std::ptrdiff_t>(
            block.n_rows, static_cast<std::ptrdiff_t>(divergences.size()) - first_target);
#pragma omp parallel for num_threads(engine_.n_threads()) schedule(static)
        for (std::ptrdiff_t i = 0; i < end; ++i) {
            const auto target = static_cast<size_t>(first_target + i);
            divergences[target] = static_cast<float>(
                kl_divergence(std::span(dense).subspan(target * n_vocab, n_vocab),
                              {block.logits + static_cast<size_t>(i) * n_vocab, n_vocab}));
        }
    };
    run_stretch(engine_, plan, stretch);
    n_layer_evaluations_ += n_layers_computed(plan, first, n_layers_);
    return divergences;
}

std::vector<float> JointModel::base_divergences(size_t window) {
    return divergences_of(base_, window, n_layers_ - 1);
}

std::vector<float> JointModel::divergences(size_t window, const JointMove &move) {
    Plan plan = base_;
    plan.layers[static_cast<size_t>(move.layer)] =
        fitted(move.layer)[static_cast<size_t>(move.choice)];
    plan = options_.inherits ? with_inherited_rows(std::move(plan)) : plan;
    return divergences_of(plan, window, move.layer);
}

double JointModel::divergence_of(const Plan &kept) {
    // Before the first changed layer all plans are one.
    const auto first = std::find_if(choices_.begin(), choices_.end(), [](int c) { return c >= 0; });
    const auto il = std::min(n_layers_ - 1, static_cast<int>(first - choices_.begin()));
    double sum = 0;
    for (size_t w = 0; w < kl_windows_.size(); ++w) {
        check_stop();
        sum += mean(divergences_of(kept, w, il));
    }
    return sum / static_cast<double>(kl_windows_.size());
}

int64_t JointModel::expected_layer_evaluations(int n_rounds, int n_again) const {
    const auto n_windows = static_cast<int64_t>(windows_.size());
    const auto n_kl = static_cast<int64_t>(kl_windows_.size());
    const auto n_fit = static_cast<int64_t>(fit_windows_.size());
    const int64_t half = (n_layers_ + 1) / 2;
    const int64_t n_moves =
        static_cast<int64_t>(options_.choices.size()) * static_cast<int64_t>(n_layers_ - 2);
    const int64_t first = n_windows * n_layers_ + n_fit * (n_layers_ - 2) + n_moves * n_kl * half;
    // The fits: of the layers asked for, and of those changed behind an accepted one.
    const int64_t later = n_again * (n_kl * half + n_fit) + n_windows * half + n_kl;
    return first + later * std::max(0, n_rounds - 1) + n_windows * half;
}

void JointModel::check_stop() const {
    if (options_.should_stop && options_.should_stop()) {
        throw Interrupted("interrupted");
    }
}

}  // namespace orthorank
