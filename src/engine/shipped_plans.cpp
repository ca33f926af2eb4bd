#include "engine/shipped_plans.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "engine/plan_files.h"
#include "model/export_model.h"
#include "select/sparsity.h"

namespace orthorank {

namespace {

namespace fs = std::filesystem;

constexpr double k_near = 0.015;

std::string provenance_text(const Plan &plan, const char *key) {
    const auto &json = plan.provenance;
    const bool is_there = json.is_object() && json.contains(key) && json.at(key).is_string();
    return is_there ? json.at(key).get<std::string>() : std::string();
}

// The sparsity that the plan was made for, if it says so.
std::optional<double> recorded_level(const Plan &plan) {
    const auto &json = plan.provenance;
    const bool is_there =
        json.is_object() && json.contains("sparsity") && json.at("sparsity").is_number();
    return is_there ? std::optional(json.at("sparsity").get<double>()) : std::nullopt;
}

// That, or the one that it has.
double level_of(const Plan &plan) {
    return recorded_level(plan).value_or(plan.effective_sparsity());
}

bool is_made_for(const Plan &plan, double sparsity) {
    const std::optional<double> level = recorded_level(plan);
    return level && std::fabs(*level - sparsity) < 1e-6;
}

bool is_of(const Plan &plan, double sparsity) {
    return is_made_for(plan, sparsity) || std::fabs(plan.effective_sparsity() - sparsity) < k_near;
}

// Lower is better: corrections first, then selection before removal, then the method.
int rank_of(const Plan &plan) {
    const std::string method = provenance_text(plan, "method");
    return (plan.has_numbers() ? 0 : 6) + (plan.layers_with(Action::select).empty() ? 3 : 0) +
           (method == "joint"  ? 0
            : method == "sleb" ? 1
                               : 2);
}

// The mean of the ratios that were measured for the purpose; infinite: none was.
double loss_of(const Plan &plan, PlanPurpose purpose) {
    double sum = 0.0;
    int n = 0;
    for (const PlanLoss &loss : plan.losses) {
        if ((loss.n_continuation > 0) == (purpose == PlanPurpose::prompt)) {
            sum += loss.ratio;
            ++n;
        }
    }
    return n > 0 ? sum / n : std::numeric_limits<double>::infinity();
}

// Lower is better.
std::tuple<bool, bool, double, int> rank_for(const Plan &plan, double sparsity,
                                             PlanPurpose purpose) {
    const bool is_for_prompts = plan.apply == Apply::prefill;
    return {is_for_prompts != (purpose == PlanPurpose::prompt), !is_made_for(plan, sparsity),
            loss_of(plan, purpose), rank_of(plan)};
}

std::vector<std::string> notes_on(const Plan &plan, const Model &model, const std::string &path) {
    const std::string type = provenance_text(plan, "file_type");
    if (type.empty() || type == model.file_type()) {
        return {};
    }
    return {fmt::format("{} was calibrated on {} weights, this file has {}", path, type,
                        model.file_type())};
}

struct Candidate {
    Plan head;  // without its numbers
    std::string path;
};

// The shipped plans for this model; left_out: a line on each file that is no plan.
std::vector<Candidate> plans_for(const Model &model, const std::string &plans_dir,
                                 std::vector<std::string> &left_out) {
    std::vector<Candidate> plans;
    for (const fs::path &path : plan_files_in(plans_dir)) {
        try {
            Plan head = read_plan_head(path.string());
            if (head.fingerprint == model.fingerprint() &&
                head.n_layers() == model.hparams().n_layers) {
                plans.push_back({std::move(head), path.string()});
            }
        } catch (const Error &error) {
            left_out.push_back(fmt::format("left out: {}", error.what()));
        }
    }
    return plans;
}

}  // namespace

std::vector<fs::path> plan_files_in(const std::string &plans_dir) {
    std::vector<fs::path> files;
    std::error_code error;
    for (const auto &entry : fs::directory_iterator(plans_dir, error)) {
        if (entry.path().extension() == ".json") {
            files.push_back(entry.path());
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

std::optional<Plan> embedded_plan(const Model &model) {
    const std::optional<std::string> text = plan_text_in(model.path());
    if (!text) {
        return {};
    }
    const std::string name = fmt::format("{} ({})", model.path(), k_plan_key);
    Plan plan = read_embedded_plan(model.path(), *text, name);
    check_plan_fits(plan, model.hparams().n_layers, model.hparams().n_embd, model.fingerprint(),
                    model.hparams().name);
    return plan;
}

FoundPlan plan_for_sparsity(const Model &model, double sparsity, const std::string &plans_dir,
                            PlanPurpose purpose) {
    const std::optional<Plan> embedded = embedded_plan(model);
    std::vector<std::string> left_out;
    const std::vector<Candidate> candidates = plans_for(model, plans_dir, left_out);
    if (embedded && is_of(*embedded, sparsity)) {
        return {*embedded, model.path(), notes_on(*embedded, model, model.path())};
    }
    const Candidate *best = nullptr;
    for (const Candidate &candidate : candidates) {
        const bool is_better = is_of(candidate.head, sparsity) &&
                               (best == nullptr || rank_for(candidate.head, sparsity, purpose) <
                                                       rank_for(best->head, sparsity, purpose));
        best = is_better ? &candidate : best;
    }
    if (best != nullptr) {
        FoundPlan found{read_plan_files(best->path), best->path, std::move(left_out)};
        for (std::string &note : notes_on(found.plan, model, best->path)) {
            found.notes.push_back(std::move(note));
        }
        return found;
    }
    std::set<std::string> levels;
    for (const Candidate &candidate : candidates) {
        levels.insert(sparsity_text(level_of(candidate.head)));
    }
    if (embedded) {
        levels.insert(sparsity_text(level_of(*embedded)));
    }
    fail(ErrorKind::usage,
         "no plan of {} for this model (fingerprint {}) in {}{}: make one with `orthorank "
         "select-layers -m {} --calibration TEXT --sparsity {} -o PLAN` and give it with "
         "--plan PLAN{}{}",
         sparsity_text(sparsity), model.fingerprint(), plans_dir,
         levels.empty() ? "" : fmt::format(", only of {}", fmt::join(levels, ", ")), model.path(),
         sparsity_text(sparsity), left_out.empty() ? "" : "; ", fmt::join(left_out, "; "));
}

std::vector<double> known_sparsities(const Model &model, const std::string &plans_dir) {
    std::vector<std::string> left_out;
    std::vector<Plan> heads;
    for (Candidate &candidate : plans_for(model, plans_dir, left_out)) {
        heads.push_back(std::move(candidate.head));
    }
    if (std::optional<Plan> plan = embedded_plan(model)) {
        heads.push_back(std::move(*plan));
    }
    std::vector<double> levels;
    for (const Plan &head : heads) {
        // Nearly the same sparsity, without being made for it, is found under the other's.
        if (std::none_of(levels.begin(), levels.end(),
                         [&](double level) { return is_of(head, level); })) {
            levels.push_back(level_of(head));
        }
    }
    std::sort(levels.begin(), levels.end());
    return levels;
}

}  // namespace orthorank
