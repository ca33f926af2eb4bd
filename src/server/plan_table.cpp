#include "server/plan_table.h"

#include <algorithm>
#include <cmath>

#include "select/sparsity.h"
#include "server/api_error.h"

namespace orthorank {

namespace {

bool is_called(const std::string &name, const std::string &wish) {
    return name == wish || name == wish + ".json";
}

bool has_sparsity(const ServedPlan &served, double wish) {
    return served.sparsity &&
           (std::fabs(*served.sparsity - wish) < 1e-9 || served.name == sparsity_text(wish));
}

}  // namespace

PlanTable::PlanTable(const Model &model, std::string name, std::vector<ServedPlan> plans)
    : n_layers_(model.hparams().n_layers), name_(std::move(name)), plans_(std::move(plans)) {
    for (size_t i = 0; i < plans_.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
            if (plans_[i].name == plans_[j].name) {
                fail(ErrorKind::usage, "two plans are called {}: give each once", plans_[i].name);
            }
        }
    }
}

std::vector<std::string> PlanTable::model_names() const {
    std::vector<std::string> names = {name_};
    for (const ServedPlan &plan : plans_) {
        names.push_back(name_ + "@" + plan.name);
    }
    return names;
}

std::string PlanTable::known() const {
    std::vector<std::string> names;
    for (const ServedPlan &plan : plans_) {
        names.push_back(plan.name);
    }
    return names.empty() ? "no plan is served: start the server with --plan or --sparsity"
                         : fmt::format("served: {}", fmt::join(names, ", "));
}

// The one served plan that has this file, as answers name it; null: none has, or several.
const ServedPlan *PlanTable::with_file(const std::string &plan) const {
    const ServedPlan *found = nullptr;
    for (const ServedPlan &served : plans_) {
        if (is_called(served.prompt.name, plan) || is_called(served.every_row.name, plan)) {
            if (found != nullptr) {
                return nullptr;
            }
            found = &served;
        }
    }
    return found;
}

const ServedPlan &PlanTable::find(const std::string &plan, const char *field) const {
    const auto by_name = std::find_if(plans_.begin(), plans_.end(), [&](const ServedPlan &served) {
        return is_called(served.name, plan);
    });
    const ServedPlan *found = by_name != plans_.end() ? &*by_name : with_file(plan);
    if (found == nullptr) {
        refuse(field, "{}: no plan '{}' ({})", field, plan, known());
    }
    return *found;
}

const ServedPlan *PlanTable::named(const PlanWish &wish) const {
    std::vector<const ServedPlan *> found;
    if (!wish.model.empty() && wish.model != name_) {
        if (!wish.model.starts_with(name_ + "@")) {
            throw ApiError(404, "model_not_found",
                           fmt::format("model '{}' is not served (served: {})", wish.model,
                                       fmt::join(model_names(), ", ")),
                           "model");
        }
        found.push_back(&find(wish.model.substr(name_.size() + 1), "model"));
    }
    if (!wish.plan.empty()) {
        found.push_back(&find(wish.plan, "orthorank.plan"));
    }
    if (wish.sparsity) {
        const auto by_sparsity = std::find_if(
            plans_.begin(), plans_.end(),
            [&](const ServedPlan &served) { return has_sparsity(served, *wish.sparsity); });
        if (by_sparsity == plans_.end()) {
            refuse("orthorank.sparsity", "orthorank.sparsity: no plan of {} ({})",
                   sparsity_text(*wish.sparsity), known());
        }
        found.push_back(&*by_sparsity);
    }
    if (std::any_of(found.begin(), found.end(),
                    [&](const ServedPlan *plan) { return plan != found.front(); })) {
        refuse("orthorank", "the request names two plans: {} and {}", found.front()->name,
               found.back()->name);
    }
    return found.empty() ? nullptr : found.front();
}

Plan PlanTable::choose(const PlanWish &wish) const {
    const ServedPlan *served = named(wish);
    if (served == nullptr) {
        if (wish.apply) {
            refuse("orthorank.apply", "orthorank.apply does nothing: the request names no plan");
        }
        return dense_plan(n_layers_);
    }
    const bool is_for_prompt = wish.apply ? *wish.apply == Apply::prefill : !wish.scores_all_rows;
    Plan plan = is_for_prompt ? served->prompt : served->every_row;
    if (wish.scores_all_rows && !wish.apply) {
        plan.apply = Apply::both;
    }
    plan.apply = wish.apply.value_or(plan.apply);
    if (plan.apply == Apply::decode || (wish.scores_all_rows && !is_for_prompt)) {
        plan.keep_last = 0;  // of a prompt's rows, none of which is more the last than another
    }
    return plan;
}

}  // namespace orthorank
