// The searches and plans of the paper's tables and figures, as recipes by name: how each is made
// for a model of so many layers. Plain data.
#pragma once

#include <string>
#include <vector>

#include "calibration/select_layers.h"
#include "reproduction/budget.h"
#include "select/plan.h"

namespace orthorank {

struct SearchRecipe {
    std::string name;
    SelectionMethod method = SelectionMethod::sleb;
    LayerPlan change;  // skip or select
    int n_tokens = 0;  // in a calibration window
};

// Ratios of the selecting layers in order of depth: all alike, or from 0 to twice the mean or back
// (the paper's Linear1 and Linear2).
enum class RatioSchedule { fixed, rising, falling };

struct PlanRecipe {
    std::string name;          // of the plan and of its files
    std::string label;         // for tables
    std::string search;        // empty: the dense plan
    int n_layers = 0;          // the first so many of the search's order
    std::string other_policy;  // in place of the search's; empty: none
    RatioSchedule schedule = RatioSchedule::fixed;
};

class Recipes {
 public:
    // Throws Error{format} for a model with fewer than three layers: the searches of the paper
    // never touch the first and the last one.
    Recipes(const Budget &budget, int n_model_layers);

    const SearchRecipe &search(const std::string &name) const;
    const PlanRecipe &plan(const std::string &name) const;
    // Figure 7: plans of one sparsity, from few layers at a small ratio to many at a large one.
    const std::vector<std::string> &tradeoff() const { return tradeoff_; }
    // Whether Shortened LLaMA's rule, which spares the first four and the last two layers, leaves
    // enough to choose from.
    bool is_plus() const { return is_plus_; }
    int n_layers() const { return n_layers_; }

 private:
    void add_search(const std::string &name, SelectionMethod method, const LayerPlan &change,
                    int n_tokens);
    void add_levels(const std::string &search, const std::string &label,
                    const std::vector<int> &percents, const std::string &suffix = "");
    void add_criteria(int n_tokens);
    void add_tradeoff(const Budget &budget);
    int n_changed(const SearchRecipe &search, double sparsity) const;

    int n_layers_;
    bool is_plus_;
    std::vector<SearchRecipe> searches_;
    std::vector<PlanRecipe> plans_;
    std::vector<std::string> tradeoff_;
};

// Removed, or selecting by this policy at 0.333.
LayerPlan removal();
LayerPlan selection(const std::string &policy, double ratio = 0.333);

// Table 5's rows but the method's own, as policies; the policy of Table 6 is "attention-up".
const std::vector<std::string> &table_5_policies();
// Sparsities of Figures 6, 8 and 14, in per cent.
const std::vector<int> &sparsity_levels();
// The suffix of a plan whose layers were found at this calibration length: "-at-4096".
std::string at_length(int n_tokens);

// The plan of a recipe, from the plan that its search gave with as many layers.
Plan made_plan(const PlanRecipe &recipe, Plan found);

}  // namespace orthorank
