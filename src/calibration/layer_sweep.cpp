#include "calibration/layer_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "calibration/layer_losses.h"
#include "report/comparison_table.h"
#include "report/plot.h"

namespace orthorank {

namespace {

constexpr double k_none = std::numeric_limits<double>::quiet_NaN();

std::vector<SweepCurve> curves_for(double ratio) {
    std::vector<SweepCurve> curves;
    for (const char *name : {"orthogonal", "orthogonal-reverse", "random"}) {
        SweepCurve curve;
        curve.name = name;
        curve.change.action = Action::select;
        curve.change.ratio = ratio;
        curve.change.policy = policy_from_name(name);
        curves.push_back(curve);
    }
    SweepCurve removed;
    removed.name = "removed";
    removed.change.action = Action::skip;
    curves.push_back(removed);
    return curves;
}

// The mean over the windows.
double mean_loss(const Windows &windows, const LayerSweepOptions &options,
                 const std::function<double(size_t)> &nll_of) {
    double loss = 0;
    for (size_t w = 0; w < windows.size(); ++w) {
        if (options.should_stop && options.should_stop()) {
            throw Interrupted("interrupted");
        }
        loss += nll_of(w) / static_cast<double>(windows.size());
    }
    return loss;
}

std::string loss_text(double loss) {
    return std::isnan(loss) ? "" : fmt::format("{:.6f}", loss);
}

}  // namespace

LayerSweep sweep_layers(Engine &engine, const Windows &windows, const LayerSweepOptions &options) {
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "there is no window of calibration text");
    }
    LayerLosses losses(engine, windows, options.budget_bytes);
    LayerSweep sweep;
    sweep.curves = curves_for(options.ratio);
    sweep.dense_loss = mean_loss(windows, options, [&](size_t w) { return losses.base_nll(w); });
    const Hparams &hparams = engine.model().hparams();
    for (int il = 0; il < hparams.n_layers; ++il) {
        for (SweepCurve &curve : sweep.curves) {
            const bool is_possible = curve.change.action != Action::skip || !hparams.is_read(il);
            const auto nll_of = [&](size_t w) { return losses.nll(w, il, curve.change); };
            curve.losses.push_back(is_possible ? mean_loss(windows, options, nll_of) : k_none);
        }
        if (options.on_progress) {
            options.on_progress((il + 1.0) / hparams.n_layers);
        }
    }
    return sweep;
}

std::string sweep_csv(const LayerSweep &sweep) {
    ComparisonTable table;
    for (size_t il = 0; il < sweep.curves.front().losses.size(); ++il) {
        Cells cells = {{"layer", std::to_string(il)}, {"dense", loss_text(sweep.dense_loss)}};
        for (const SweepCurve &curve : sweep.curves) {
            cells.emplace_back(curve.name, loss_text(curve.losses[il]));
        }
        add_row(cells, table);
    }
    return csv_text(table);
}

std::string sweep_svg(const LayerSweep &sweep, const std::string &title) {
    const size_t n_layers = sweep.curves.front().losses.size();
    LinePlot plot;
    plot.title = title;
    plot.x.label = "layer";
    plot.y = {.label = "negative log-likelihood, nats a token", .is_log = true};
    const auto last = static_cast<double>(n_layers - 1);
    for (const SweepCurve &curve : sweep.curves) {
        PlotLine line;
        line.name = curve.name;
        line.colour = plot.lines.size();
        line.y = curve.losses;
        for (size_t il = 0; il < n_layers; ++il) {
            line.x.push_back(static_cast<double>(il));
        }
        plot.lines.push_back(std::move(line));
    }
    plot.lines.push_back({.name = "dense",
                          .x = {0.0, last},
                          .y = {sweep.dense_loss, sweep.dense_loss},
                          .is_dashed = true,
                          .colour = 4});
    return line_plot_svg(plot);
}

}  // namespace orthorank
