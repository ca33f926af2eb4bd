#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "base/progress.h"
#include "base/text_file.h"
#include "cli/select_layers.h"
#include "tasks/layer_sweep.h"

namespace orthorank {

void run_layer_sweep(const SelectLayersArguments &arguments, const Argv &argv,
                     const std::function<bool()> &should_stop) {
    CalibrationOptions calibration_options = arguments.calibration;
    calibration_options.protocol = calibration_protocol_from_name(arguments.protocol);
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const Calibration calibration = read_calibration(calibration_options, model->vocab());
    const std::unique_ptr<Engine> engine =
        make_engine(*model, arguments.model, calibration.windows.n_ctx);
    Progress progress("sweep");
    LayerSweepOptions options;
    options.ratio = arguments.ratio;
    options.budget_bytes = int64_t{arguments.memory_mib} << 20;
    options.on_progress = [&](double fraction) { progress.update(fraction); };
    options.should_stop = should_stop;
    const LayerSweep sweep = sweep_layers(*engine, calibration.windows, options);
    progress.finish();
    if (prints_text(arguments.json)) {
        fmt::print("{} windows of {} tokens; mean negative log-likelihood, dense {:.4f}\n",
                   calibration.windows.size(), calibration.windows.n_ctx, sweep.dense_loss);
        fmt::print("{}", sweep_csv(sweep));
    }
    if (!arguments.csv.empty()) {
        write_file_atomically(arguments.csv, sweep_csv(sweep));
    }
    if (!arguments.svg.empty()) {
        write_file_atomically(arguments.svg,
                              sweep_svg(sweep, "one layer changed: " + model->hparams().name));
    }
    nlohmann::ordered_json json = result_frame(argv, *model, engine.get(), arguments.model);
    json["calibration"] = calibration.description;
    json["dense_loss"] = sweep.dense_loss;
    json["results"] = nlohmann::ordered_json::array();
    for (const SweepCurve &curve : sweep.curves) {
        json["results"].push_back({{"change", curve.name}, {"losses", curve.losses}});
    }
    write_json(arguments.json, json);
}

}  // namespace orthorank
