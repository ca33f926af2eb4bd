#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "base/console.h"
#include "base/progress.h"
#include "calibration/layer_sweep.h"
#include "cli/environment.h"
#include "cli/select_layers.h"
#include "report/result_frame.h"

namespace orthorank {

void run_layer_sweep(const SelectLayersArguments &arguments, const Argv &argv,
                     const std::function<bool()> &should_stop) {
    const SelectionInputs inputs = load_inputs(arguments, /*fits_corrections=*/false);
    Progress progress("sweep", stderr, is_dumb_terminal());
    LayerSweepOptions options;
    options.ratio = arguments.ratio;
    options.budget_bytes = int64_t{arguments.memory_mib} << 20;
    options.on_progress = [&](double fraction) { progress.update(fraction); };
    options.should_stop = should_stop;
    const LayerSweep sweep = sweep_layers(*inputs.engine, inputs.windows(), options);
    progress.finish();
    write_output(arguments.csv, sweep_csv(sweep));
    write_output(arguments.svg,
                 sweep_svg(sweep, "one layer changed: " + inputs.model->hparams().name));
    nlohmann::ordered_json json = result_frame(argv, *inputs.model, inputs.engine.get());
    json["calibration"] = inputs.settings.calibration;
    json["dense_loss"] = sweep.dense_loss;
    json["results"] = nlohmann::ordered_json::array();
    for (const SweepCurve &curve : sweep.curves) {
        json["results"].push_back({{"change", curve.name}, {"losses", curve.losses}});
    }
    write_json(arguments.json, json);
    const bool prints =
        prints_text(arguments.json) && prints_text(arguments.csv) && prints_text(arguments.svg);
    if (prints) {
        print("mean negative log-likelihood, dense {:.4f}\n", sweep.dense_loss);
        print_text(sweep_csv(sweep));
    }
}

}  // namespace orthorank
