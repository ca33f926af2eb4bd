// The plans that a server was started with and which of them a request gets. Immutable after it was
// filled, thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "select/plan.h"

namespace orthorank {

struct ServedPlan {
    std::string name;                // what requests call it: "20%", or the file's name
    std::optional<double> sparsity;  // it was named by that
    Plan prompt;                     // for generating: the one for prompts, if there is one
    Plan every_row;                  // for scores of all rows
};

// What a request says of its plan.
struct PlanWish {
    std::string model;  // the field "model": the server's name, or NAME@PLAN; may be empty
    std::string plan;   // orthorank.plan
    std::optional<double> sparsity;  // orthorank.sparsity
    std::optional<Apply> apply;
    bool scores_all_rows = false;  // every row is under the plan unless `apply` says otherwise
};

class PlanTable {
 public:
    // name: of the model, for clients. Throws Error{usage} for two plans of one name.
    PlanTable(const Model &model, std::string name, std::vector<ServedPlan> plans);

    const std::string &name() const { return name_; }
    const std::vector<ServedPlan> &plans() const { return plans_; }
    // The names that the field "model" may have: NAME and NAME@PLAN.
    std::vector<std::string> model_names() const;
    // The plan for a request; the dense one where it names none. Throws ApiError: 404 for a model
    // that is not served, 400 for a plan that is not, or two in one request.
    Plan choose(const PlanWish &wish) const;

 private:
    const ServedPlan *named(const PlanWish &wish) const;
    const ServedPlan *with_file(const std::string &plan) const;
    const ServedPlan &find(const std::string &plan, const char *field) const;
    std::string known() const;

    int n_layers_;
    std::string name_;
    std::vector<ServedPlan> plans_;
};

}  // namespace orthorank
