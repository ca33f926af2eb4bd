// What a joint search leaves in files: the plan's provenance, and the partial file from which an
// interrupted search continues (docs/formats.md). Functions on plain data; they throw Error{file},
// and Error{format} or Error{usage} for a file that is not theirs.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibration/joint_search.h"
#include "calibration/layer_fits.h"

namespace orthorank {

// "skip" or a ratio such as "0.333", of this policy. Throws Error{usage}.
LayerPlan choice_from_text(const std::string &text, const Policy &policy);
std::string choice_text(const LayerPlan &choice);

// The choices of a search and what each saves, a part of the whole; ascending by that.
struct JointSavings {
    std::vector<LayerPlan> choices;
    std::vector<double> savings;
};

// By effective sparsity: 1 - ratio of one layer of n_layers.
JointSavings savings_by_sparsity(std::vector<LayerPlan> choices, int n_layers);
// By measured times, in the unit of `prefill`: choice_times[i] is that of a layer with choices[i].
// Choices that save nothing are left out; Error{limit} when none is left.
JointSavings savings_by_time(std::vector<LayerPlan> choices,
                             const std::vector<double> &choice_times, double dense_layer,
                             double prefill);

// Everything that decides a search; two runs with equal settings (and equal savings, where they
// are measured) give equal plans.
struct JointSettings {
    std::vector<LayerPlan> choices;
    CorrectionOptions correction;
    int n_kl_windows = 1;
    int n_again = 8;
    bool brute_force = false;
    double target = 0;       // what is to be saved, a part of the whole
    int n_continuation = 0;  // as SelectionSettings has them
    int keep_last = 0;
    bool inherits = false;
    bool by_time = false;  // of the prefill's time; else of the layers: effective sparsity
    std::string model_name;
    std::string fingerprint;
    std::string file_type;
    std::string kv_type;
    std::string kernels;  // as kernels_text() has it
    std::string correction_type;
    std::string device;
    int n_model_layers = 0;
    nlohmann::ordered_json calibration;  // as read_calibration describes it
};

struct JointState {
    JointSavings savings;
    JointOrder order;
};

void write_joint_partial(const JointSettings &settings, const JointState &state,
                         const std::string &path);
// Nothing if there is no such file. Throws Error{usage} when it is of other settings.
std::optional<JointState> read_joint_partial(const JointSettings &settings,
                                             const std::string &path);

// What the plan records of where it came from.
nlohmann::ordered_json joint_provenance(const JointSettings &settings, const JointState &state,
                                        double effective_sparsity);

// Whether this plan's provenance is a joint search's.
bool is_joint_plan(const Plan &plan);

// The plan after the first round of the recorded search at which this effective sparsity (a part of
// the whole) was reached. Without corrections and probes, which other layers have; where these were
// to pick the rows, policy orthogonal does. Throws Error{format} for rounds that are none,
// Error{usage} where the search did not come so far.
Plan plan_from_recorded_rounds(const Plan &plan, double sparsity);

// The rounds: what became of which layer, the divergence after it, what was saved by then.
nlohmann::ordered_json joint_order_json(const JointState &state);

}  // namespace orthorank
