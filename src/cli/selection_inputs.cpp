// What every part of select-layers computes with, loaded in one way.
#include <fmt/format.h>

#include "base/console.h"
#include "base/error.h"
#include "calibration/kept_rows.h"
#include "cli/select_layers.h"
#include "model/backend_info.h"

namespace orthorank {

namespace {

SelectionSettings settings_for(const SelectLayersArguments &arguments, SelectionMethod method,
                               const Model &model, const Calibration &calibration) {
    SelectionSettings settings;
    settings.method = method;
    settings.plus = !arguments.no_plus;
    settings.race = arguments.race;
    settings.inherits = arguments.inherits;
    settings.n_continuation = arguments.n_continuation();
    settings.keep_last = arguments.keep_last.empty() ? 0 : arguments.keep_last.front();
    settings.model_name = model.hparams().name;
    settings.fingerprint = model.fingerprint();
    settings.file_type = model.type_in_use();
    settings.kv_type = arguments.model.kv_type;
    settings.kernels = kernels_of(model, arguments.model);
    settings.device = device_identity(model);
    settings.n_model_layers = model.hparams().n_layers;
    settings.calibration = calibration.description;
    return settings;
}

CalibrationOptions calibration_options(const SelectLayersArguments &arguments) {
    CalibrationOptions options = arguments.calibration;
    options.protocol = calibration_protocol_from_name(arguments.protocol);
    options.n_continuation = arguments.n_continuation();
    return options;
}

}  // namespace

void check_leaves_rows(const SelectLayersArguments &arguments, int keep_last) {
    const int n_rows = n_prompt_rows(calibration_options(arguments));
    if (n_rows > 0 && keep_last >= n_rows) {
        fail(ErrorKind::usage,
             "keep_last {} keeps the whole prompt of {} rows, in which nothing would be selected: "
             "give a smaller --keep-last or a larger --seqlen",
             keep_last, n_rows);
    }
}

SelectionInputs load_inputs(const SelectLayersArguments &arguments, bool fits_corrections) {
    const SelectionMethod method = selection_method_from_name(arguments.method);
    const CalibrationOptions options = calibration_options(arguments);
    for (int keep_last : arguments.keep_last) {
        check_leaves_rows(arguments, keep_last);
    }
    SelectionInputs inputs;
    inputs.model = load_model(arguments.model);
    inputs.calibration = read_calibration(options, inputs.model->vocab());
    if (fits_corrections) {
        check_equal_parts(inputs.calibration);
    }
    inputs.settings = settings_for(arguments, method, *inputs.model, inputs.calibration);
    inputs.engine = make_engine(*inputs.model, arguments.model, inputs.windows().n_ctx);
    if (prints_text(arguments)) {
        print("calibration: {} tokens, {} windows of {}\n", inputs.calibration.n_tokens,
              inputs.windows().size(), inputs.windows().n_ctx);
    }
    return inputs;
}

Plan with_best_keep_last(const SelectLayersArguments &arguments, const std::vector<int> &offered,
                         Plan plan, const std::function<double(const Plan &)> &cost_of) {
    if (offered.size() < 2) {
        return plan;
    }
    std::vector<KeptRows> choices;
    std::string text;
    for (int keep_last : offered) {
        plan.keep_last = keep_last;
        choices.push_back({keep_last, cost_of(plan)});
        text += fmt::format("{}{:.4f} with {}", text.empty() ? "" : ", ", choices.back().cost,
                            keep_last);
    }
    keep_cheapest(plan, choices);
    if (prints_text(arguments)) {
        print("keep_last {}: it loses least ({})\n", plan.keep_last, text);
    }
    return plan;
}

}  // namespace orthorank
