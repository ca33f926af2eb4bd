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

struct Plan {
    std::string name;               // for printing: the file's name (no folder), or what made it
    std::string model_name;         // informative
    std::string fingerprint;        // of the model it was made for; empty: any with these layers
    std::vector<LayerPlan> layers;  // one per layer of the model

    // Where it came from: kept and written back as it is (method, calibration, date, losses).
    nlohmann::ordered_json provenance;

    bool is_dense() const;
    int n_layers() const { return static_cast<int>(layers.size()); }
    // Has any layer a correction or a probe?
    bool has_numbers() const;
    // Indices of the layers with this action, ascending.
    std::vector<int> layers_with(Action action) const;
    // sum over layers of (1 - ratio), skip counted as ratio 0, over n_layers (specification 5).
    double effective_sparsity() const;
};

// The plan in which every layer is dense.
Plan dense_plan(int n_layers);

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
// Version 1, or version 2 for a plan that has_numbers(); tensors: what that says of where they are.
nlohmann::ordered_json plan_to_json(const Plan &plan, const PlanTensors &tensors = {});

// Which results belong to the same plan: its layers as in JSON, and with numbers their hash.
nlohmann::ordered_json plan_identity(const Plan &plan);

// The JSON file alone: use read_plan_files() and write_plan_files() of engine/plan_files.h for
// plans that may have numbers. Throws Error{file} or Error{format}, naming the file.
Plan read_plan(const std::string &path, const OpenPlanNumbers &open = {});
// Writes to a temporary name and renames. Throws Error{file}.
void write_plan(const Plan &plan, const std::string &path, const PlanTensors &tensors = {});

// Throws Error{format} if the plan was made for another number of layers or, where both are known,
// for another fingerprint; the message says what the plan and the model have. Empty fingerprint or
// model_name: unknown.
void check_plan_fits(const Plan &plan, int n_layers, const std::string &fingerprint,
                     const std::string &model_name);

}  // namespace orthorank
