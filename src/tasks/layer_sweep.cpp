#include "tasks/layer_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "tasks/layer_losses.h"

namespace orthorank {

namespace {

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

// The plot's measures, in pixels.
constexpr double k_width = 760;
constexpr double k_height = 420;
constexpr double k_left = 70;
constexpr double k_right = 20;
constexpr double k_top = 40;
constexpr double k_bottom = 50;
constexpr std::array<const char *, 4> k_colours = {"#1b6ca8", "#c0392b", "#7f8c8d", "#2c3e50"};

std::string escaped(const std::string &text) {
    std::string result;
    for (char c : text) {
        result += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    }
    return result;
}

struct Axes {
    double low;
    double high;
    size_t n_layers;

    double x(size_t layer) const {
        const double n = std::max<double>(1.0, static_cast<double>(n_layers) - 1.0);
        return k_left + (k_width - k_left - k_right) * static_cast<double>(layer) / n;
    }
    double y(double loss) const {
        const double part = (std::log(loss) - std::log(low)) / (std::log(high) - std::log(low));
        return k_height - k_bottom - (k_height - k_top - k_bottom) * part;
    }
};

Axes axes_of(const LayerSweep &sweep) {
    Axes axes{sweep.dense_loss, sweep.dense_loss, sweep.curves.front().losses.size()};
    for (const SweepCurve &curve : sweep.curves) {
        for (double loss : curve.losses) {
            if (std::isfinite(loss) && loss > 0) {
                axes.low = std::min(axes.low, loss);
                axes.high = std::max(axes.high, loss);
            }
        }
    }
    axes.low *= 0.99;
    axes.high *= 1.01;
    return axes;
}

std::string text_at(double x, double y, const char *anchor, const std::string &text) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y,
                       anchor, escaped(text));
}

std::string axes_svg(const Axes &axes) {
    std::string svg;
    for (int i = 0; i <= 4; ++i) {
        const double loss = axes.low * std::pow(axes.high / axes.low, i / 4.0);
        svg +=
            fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n",
                        k_left, k_width - k_right, axes.y(loss), axes.y(loss));
        svg += text_at(k_left - 8, axes.y(loss) + 4, "end", fmt::format("{:.2f}", loss));
    }
    const size_t step = std::max<size_t>(1, axes.n_layers / 10);
    for (size_t layer = 0; layer < axes.n_layers; layer += step) {
        svg += text_at(axes.x(layer), k_height - k_bottom + 18, "middle", std::to_string(layer));
    }
    return svg + text_at(k_width / 2, k_height - 12, "middle", "layer");
}

}  // namespace

LayerSweep sweep_layers(Engine &engine, const Windows &windows, const LayerSweepOptions &options) {
    if (windows.size() == 0) {
        fail(ErrorKind::limit, "there is no window of calibration text");
    }
    LayerLosses losses(engine, windows, options.budget_bytes);
    LayerSweep sweep;
    sweep.curves = curves_for(options.ratio);
    const int n_layers = engine.model().hparams().n_layers;
    const auto n_windows = static_cast<double>(windows.size());
    for (size_t w = 0; w < windows.size(); ++w) {
        sweep.dense_loss += losses.base_nll(w) / n_windows;
    }
    for (int il = 0; il < n_layers; ++il) {
        for (SweepCurve &curve : sweep.curves) {
            double loss = 0;
            for (size_t w = 0; w < windows.size(); ++w) {
                if (options.should_stop && options.should_stop()) {
                    throw Interrupted("interrupted");
                }
                loss += losses.nll(w, il, curve.change) / n_windows;
            }
            curve.losses.push_back(loss);
        }
        if (options.on_progress) {
            options.on_progress((il + 1.0) / n_layers);
        }
    }
    return sweep;
}

std::string sweep_csv(const LayerSweep &sweep) {
    std::string csv = "layer,dense";
    for (const SweepCurve &curve : sweep.curves) {
        csv += "," + curve.name;
    }
    csv += "\n";
    for (size_t il = 0; il < sweep.curves.front().losses.size(); ++il) {
        csv += fmt::format("{},{:.6f}", il, sweep.dense_loss);
        for (const SweepCurve &curve : sweep.curves) {
            csv += fmt::format(",{:.6f}", curve.losses[il]);
        }
        csv += "\n";
    }
    return csv;
}

std::string sweep_svg(const LayerSweep &sweep, const std::string &title) {
    const Axes axes = axes_of(sweep);
    std::string svg = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        k_width, k_height);
    svg += text_at(k_left, 20, "start", title + " (negative log-likelihood)");
    svg += axes_svg(axes);
    svg += fmt::format(
        "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#27ae60\" "
        "stroke-dasharray=\"4 3\"/>\n",
        k_left, k_width - k_right, axes.y(sweep.dense_loss), axes.y(sweep.dense_loss));
    double legend = k_left + 250;
    for (size_t i = 0; i < sweep.curves.size(); ++i) {
        const SweepCurve &curve = sweep.curves[i];
        const char *colour = k_colours[i % k_colours.size()];
        std::string points;
        for (size_t il = 0; il < curve.losses.size(); ++il) {
            if (std::isfinite(curve.losses[il]) && curve.losses[il] > 0) {
                points += fmt::format("{:.1f},{:.1f} ", axes.x(il), axes.y(curve.losses[il]));
            }
        }
        svg += fmt::format(
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" "
            "points=\"{}\"/>\n",
            colour, points);
        svg += fmt::format("<rect x=\"{}\" y=\"26\" width=\"12\" height=\"4\" fill=\"{}\"/>\n",
                           legend, colour);
        svg += text_at(legend + 16, 33, "start", curve.name);
        legend += 115;
    }
    return svg + "</svg>\n";
}

}  // namespace orthorank
