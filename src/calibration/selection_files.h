// What layer selection leaves in files: the plan with its provenance, and the partial file from
// which an interrupted search continues (docs/formats.md). Functions on plain data; they throw
// Error{file}, and Error{format} or Error{usage} for a file that is not theirs.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibration/layer_fits.h"
#include "calibration/partial_file.h"
#include "calibration/select_layers.h"

namespace orthorank {

// Everything that decides an order; two runs with equal settings give equal orders.
struct SelectionSettings {
    SelectionMethod method = SelectionMethod::sleb;
    LayerPlan change;
    bool plus = true;
    bool race = false;
    bool inherits = false;  // selecting layers behind the first one take its rows
    // The loss is that of the last so many tokens of a window, the plan one for prompts that keeps
    // its last rows; 0: of all tokens.
    int n_continuation = 0;
    int keep_last = 0;
    std::string model_name;
    std::string fingerprint;
    std::string file_type;
    std::string kv_type;
    std::string kernels;  // as kernels_text() has it
    std::string device;   // another one gives other bits
    int n_model_layers = 0;
    nlohmann::ordered_json calibration;  // as read_calibration describes it
};

// The plan that changes the first n_layers of the order, with its provenance. plan_loss: measured
// for it (sum over windows), or nothing when the order says it.
Plan plan_of_order(const SelectionSettings &settings, const LayerOrder &order, int n_layers,
                   std::optional<double> sparsity, std::optional<double> plan_loss);

// A plan of another size from the order that a plan's provenance records. Throws Error{format} when
// there is none, Error{usage} when it is too short.
Plan plan_from_recorded_order(const Plan &plan, int n_layers);
// What that plan does to a chosen layer. Throws as above.
LayerPlan recorded_change(const Plan &plan);

// What the provenance says of corrections: key "correction", with the text they were fitted on
// (as read_calibration describes it), the weights they were fitted for, and what they explain.
struct RecordedFit {
    int layer = -1;
    double explained = 0;
    double r_squared = 0;  // NaN: no probe
};
void record_corrections(Plan &plan, const CorrectionOptions &options,
                        const SelectionSettings &settings, const std::vector<RecordedFit> &fits);

// The search so far, in a partial file (calibration/partial_file.h).
void write_partial(const SelectionSettings &settings, const LayerOrder &order,
                   const std::string &path);
// Nothing if there is no such file. Throws Error{usage} when it is of other settings.
std::optional<LayerOrder> read_partial(const SelectionSettings &settings, const std::string &path);

}  // namespace orthorank
