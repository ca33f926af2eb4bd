// A plan: what happens in each layer of a model (dense, skip, select), and where that knowledge
// came from. Plans are data: read from JSON (docs/formats.md), compared, printed, never changed by
// running them. Reading validates everything a file can get wrong and throws Error{format} with
// what was found and what was expected.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "select/correction.h"
#include "select/policy.h"

namespace orthorank {

enum class Action {
    dense,   // the ordinary layer
    skip,    // the layer is removed, K and V included
    select,  // the layer is computed for a fraction of the rows
};

// When a plan's selection is applied. Scores are recorded in any case. Removed layers stay removed
// in both phases: their K and V would be missing in the other one.
enum class Apply { prefill, decode, both };

// Throws Error{usage} that lists them.
Apply apply_from_name(const std::string &name);
// "prefill", "decode", "both".
const char *apply_name(Apply apply);

struct LayerPlan {
    Action action = Action::dense;
    double ratio = 1.0;  // fraction of rows computed; Action::select only
    Policy policy;       // Action::select only
    CorrectionPtr correction =
        nullptr;               // for the rows that are not computed; select and skip. null: none
    ProbePtr probe = nullptr;  // ScoreKind::probe only, and there always

    // Corrections and probes are compared by their numbers.
    bool operator==(const LayerPlan &other) const;
};

// What a plan was measured to cost: exp of the mean difference of the loss to the dense model's.
struct PlanLoss {
    std::string text;  // its file's name, or the data set's
    int n_windows = 0;
    int n_ctx = 0;           // tokens in a window
    int n_continuation = 0;  // the last ones, behind a prompt under the plan; 0: all under the plan
    double ratio = 1.0;
    double se = 0.0;      // standard error of ratio, from the windows
    std::string weights;  // file type of the model that was measured; these three may be empty
    std::string date;     // YYYY-MM-DD
    std::string version;  // of the program

    bool operator==(const PlanLoss &) const = default;
};

struct Plan {
    std::string name;               // for printing: the file's name (no folder), or what made it
    std::string model_name;         // informative
    std::string fingerprint;        // of the model it was made for; empty: any with these layers
    std::vector<LayerPlan> layers;  // one per layer of the model
    Apply apply = Apply::both;
    // The last rows of a prompt that selecting layers compute in any case, beside the int(ratio *
    // (n - keep_last)) picked of those before. Nothing in decode.
    int keep_last = 0;
    std::vector<PlanLoss> losses;

    // Where it came from: kept and written back as it is (method, calibration, date, losses).
    nlohmann::ordered_json provenance;

    bool is_dense() const;
    int n_layers() const { return static_cast<int>(layers.size()); }
    // Has any layer a policy that only whole prompts have scores of?
    bool needs_whole_prompt() const;
    // Has any layer a correction or a probe?
    bool has_numbers() const;
    // Indices of the layers with this action, ascending.
    std::vector<int> layers_with(Action action) const;
    // sum over layers of (1 - ratio), skip counted as ratio 0, over n_layers (specification 5).
    // Rows that are kept in any case are not in it.
    double effective_sparsity() const;
    // The layer whose rows this one takes under policy inherit: the nearest earlier selecting one.
    // -1: there is none.
    int inherited_from(int il) const;
};

// The same with the rows of its first selecting layer in all later ones: policy inherit, and that
// layer's ratio. Their probes go; corrections stay.
Plan with_inherited_rows(Plan plan);

// The plan in which every layer is dense.
Plan dense_plan(int n_layers);

// What a plan does with the rows of one phase: its selecting layers are dense where it applies to
// the other phase alone.
Plan plan_in_prefill(const Plan &plan);
Plan plan_in_decode(const Plan &plan);

// Where the numbers of a plan's corrections and probes come from: the file that the plan names, or
// the model's own (engine/plan_files.h). Both throw Error{format} for what is not there or has
// another shape.
class PlanNumbers {
 public:
    virtual ~PlanNumbers() = default;
    virtual CorrectionPtr correction(int il, int rank) = 0;
    virtual ProbePtr probe(int il) = 0;
};

// What a plan's JSON says of the file with its numbers; both may be empty: nothing is said.
struct PlanTensors {
    std::string file;  // relative to the plan's folder
    std::string hash;  // of that file's bytes (base/fnv1a.h)
};

// Opens them for a plan that is read up to there. Called only for plans that need numbers.
using OpenPlanNumbers =
    std::function<std::unique_ptr<PlanNumbers>(const Plan &plan, const PlanTensors &tensors)>;

// Throws Error{format}; `name` is used in messages and becomes the plan's name.
// Without `open` a plan with corrections or probes is refused.
Plan plan_from_json(const nlohmann::ordered_json &json, const std::string &name,
                    const OpenPlanNumbers &open = {});
// Version 1; 2 for a plan that has_numbers(); 3 with apply, keep_last, inherit or losses. tensors:
// what versions 2 and 3 say of where the numbers are.
nlohmann::ordered_json plan_to_json(const Plan &plan, const PlanTensors &tensors = {});

// Which results belong to the same plan: its layers as in JSON, with numbers their hash, and where
// it applies if that is not everywhere.
nlohmann::ordered_json plan_identity(const Plan &plan);

// The JSON file alone: use read_plan_files() and write_plan_files() of engine/plan_files.h for
// plans that may have numbers. Throws Error{file} or Error{format}, naming the file.
Plan read_plan(const std::string &path, const OpenPlanNumbers &open = {});
// Writes to a temporary name and renames. Throws Error{file}.
void write_plan(const Plan &plan, const std::string &path, const PlanTensors &tensors = {});

// Throws Error{format} if the plan was made for another number of layers, has corrections or probes
// of another width than n_embd, or, where both are known, was made for another fingerprint; the
// message says what the plan and the model have. Empty fingerprint or model_name: unknown.
void check_plan_fits(const Plan &plan, int n_layers, int n_embd, const std::string &fingerprint,
                     const std::string &model_name);

}  // namespace orthorank
