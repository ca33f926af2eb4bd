#include "reproduction/recipes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace orthorank {

namespace {

// Layers of Figure 7's grid (specification 5.2), for 40 layers.
constexpr int k_grid_layers = 40;
const std::vector<int> k_grid = {8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 27, 32, 38};
constexpr double k_tradeoff_sparsity = 0.2;

template <typename Recipe>
const Recipe &named(const std::vector<Recipe> &recipes, const std::string &name) {
    const auto found = std::find_if(recipes.begin(), recipes.end(),
                                    [&](const Recipe &recipe) { return recipe.name == name; });
    CHECK(found != recipes.end());
    return *found;
}

// At most n of them, the first and the last among these, evenly spread.
std::vector<int> thinned(const std::vector<int> &values, int n) {
    if (n == 0 || static_cast<int>(values.size()) <= n) {
        return values;
    }
    std::vector<int> kept;
    for (int i = 0; i < n; ++i) {
        kept.push_back(values[static_cast<size_t>(i) * (values.size() - 1) /
                              static_cast<size_t>(std::max(n - 1, 1))]);
    }
    return kept;
}

}  // namespace

LayerPlan removal() {
    LayerPlan change;
    change.action = Action::skip;
    return change;
}

LayerPlan selection(const std::string &policy, double ratio) {
    LayerPlan change;
    change.action = Action::select;
    change.ratio = ratio;
    change.policy = policy_from_name(policy);
    return change;
}

const std::vector<std::string> &table_5_policies() {
    static const std::vector<std::string> policies = {"random",         "norm-up",
                                                      "norm-down",      "orthogonal-reverse",
                                                      "orthogonal-raw", "orthogonal-no-kv"};
    return policies;
}

const std::vector<int> &sparsity_levels() {
    static const std::vector<int> levels = {10, 20, 30, 40, 50};
    return levels;
}

std::string at_length(int n_tokens) {
    return fmt::format("-at-{}", n_tokens);
}

Recipes::Recipes(const Budget &budget, int n_model_layers) : n_layers_(n_model_layers) {
    if (n_model_layers < 3) {
        fail(ErrorKind::format,
             "the model has {} layer{}: the paper's searches leave the first and the last one, "
             "three are needed",
             n_model_layers, n_model_layers == 1 ? "" : "s");
    }
    const size_t n_spared = eligible_layers(SelectionMethod::shortened_ppl, true, n_layers_).size();
    is_plus_ = n_spared >= static_cast<size_t>(n_layers_) / 4 + 1;
    plans_.push_back({"dense", "dense", "", 0, "", RatioSchedule::fixed});
    const int n = budget.search_tokens;
    add_search("sleb", SelectionMethod::sleb, removal(), n);
    add_search("orthorank", SelectionMethod::sleb, selection("orthogonal"), n);
    add_levels("sleb", "SLEB", sparsity_levels());
    add_levels("orthorank", "OrthoRank", sparsity_levels());
    add_search("shortened", SelectionMethod::shortened_ppl, removal(), n);
    add_search("shortened-orthorank", SelectionMethod::shortened_ppl, selection("orthogonal"), n);
    add_levels("shortened", "Shortened LLaMA", {10});
    add_levels("shortened-orthorank", "Shortened LLaMA + OrthoRank", {10});
    add_criteria(n);
    for (size_t i = 1; i < budget.calibration_lengths.size(); ++i) {
        const int length = budget.calibration_lengths[i];
        const std::string suffix = at_length(length);
        add_search("sleb" + suffix, SelectionMethod::sleb, removal(), length);
        add_search("orthorank" + suffix, SelectionMethod::sleb, selection("orthogonal"), length);
        add_levels("sleb", "SLEB", {10, 20}, suffix);
        add_levels("orthorank", "OrthoRank", {10, 20}, suffix);
    }
    add_tradeoff(budget);
}

void Recipes::add_search(const std::string &name, SelectionMethod method, const LayerPlan &change,
                         int n_tokens) {
    searches_.push_back({name, method, change, n_tokens});
}

// The paper's rule, and at least one layer and no more than there are to choose from.
int Recipes::n_changed(const SearchRecipe &search, double sparsity) const {
    const int n_eligible =
        static_cast<int>(eligible_layers(search.method, is_plus_, n_layers_).size());
    return std::clamp(n_layers_for(sparsity, search.change, n_layers_), 1, n_eligible);
}

void Recipes::add_levels(const std::string &search, const std::string &label,
                         const std::vector<int> &percents, const std::string &suffix) {
    const SearchRecipe &found = this->search(search + suffix);
    for (int percent : percents) {
        plans_.push_back({fmt::format("{}-{}{}", search, percent, suffix),
                          fmt::format("{} {}%", label, percent), found.name,
                          n_changed(found, percent / 100.0), "", RatioSchedule::fixed});
    }
}

void Recipes::add_criteria(int n_tokens) {
    std::vector<std::string> policies = table_5_policies();
    policies.push_back("attention-up");
    const PlanRecipe ours = plan("orthorank-20");
    for (const std::string &policy : policies) {
        add_search(policy, SelectionMethod::sleb, selection(policy), n_tokens);
        add_levels(policy, policy, {20});
        plans_.push_back({policy + "-in-ours", policy + " in the layers of OrthoRank", ours.search,
                          ours.n_layers, policy, RatioSchedule::fixed});
    }
    plans_.push_back({"rising-20", "linear, rising with depth", ours.search, ours.n_layers, "",
                      RatioSchedule::rising});
    plans_.push_back({"falling-20", "linear, falling with depth", ours.search, ours.n_layers, "",
                      RatioSchedule::falling});
}

void Recipes::add_tradeoff(const Budget &budget) {
    const int n_removed = plan("sleb-20").n_layers;
    const int n_ours = plan("orthorank-20").n_layers;
    std::vector<int> grid;
    for (int m : k_grid) {
        const int scaled = static_cast<int>(std::lround(1.0 * m * n_layers_ / k_grid_layers));
        if (scaled > n_removed && scaled <= n_layers_ - 2 && scaled != n_ours &&
            (grid.empty() || scaled > grid.back())) {
            grid.push_back(scaled);
        }
    }
    const int n_others =
        budget.n_tradeoff_plans == 0 ? 0 : std::max(budget.n_tradeoff_plans - 2, 1);
    tradeoff_ = {"sleb-20"};
    std::vector<int> counts = thinned(grid, n_others);
    counts.insert(std::upper_bound(counts.begin(), counts.end(), n_ours), n_ours);
    for (int m : counts) {
        if (m == n_ours) {
            tradeoff_.emplace_back("orthorank-20");
            continue;
        }
        const double ratio = 1.0 - k_tradeoff_sparsity * n_layers_ / m;
        const std::string name = fmt::format("trade-off-{}", m);
        add_search(name, SelectionMethod::sleb, selection("orthogonal", ratio),
                   budget.search_tokens);
        plans_.push_back({name, fmt::format("{} layers at {:.3f}", m, ratio), name, m, "",
                          RatioSchedule::fixed});
        tradeoff_.push_back(name);
    }
}

const SearchRecipe &Recipes::search(const std::string &name) const {
    return named(searches_, name);
}

const PlanRecipe &Recipes::plan(const std::string &name) const {
    return named(plans_, name);
}

Plan made_plan(const PlanRecipe &recipe, Plan found) {
    found.name = recipe.name;
    const std::vector<int> layers = found.layers_with(Action::select);
    const auto last = static_cast<double>(layers.size()) - 1.0;
    for (size_t i = 0; i < layers.size(); ++i) {
        LayerPlan &layer = found.layers[static_cast<size_t>(layers[i])];
        if (!recipe.other_policy.empty()) {
            layer.policy = policy_from_name(recipe.other_policy);
        }
        if (recipe.schedule != RatioSchedule::fixed && last > 0) {
            // From 0 to twice the mean, 2/3 for a mean of a third (specification 5.1).
            const double part = static_cast<double>(i) / last;
            layer.ratio = 2.0 / 3.0 * (recipe.schedule == RatioSchedule::rising ? part : 1 - part);
        }
    }
    if (!recipe.other_policy.empty() || recipe.schedule != RatioSchedule::fixed) {
        found.provenance["changed"] = "policy or ratios, by reproduce, after the search";
    }
    return found;
}

}  // namespace orthorank
