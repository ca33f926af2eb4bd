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

namespace orthorank {

namespace {

namespace fs = std::filesystem;

constexpr double k_near = 0.015;

std::string provenance_text(const Plan &plan, const char *key) {
    const auto &json = plan.provenance;
    const bool is_there = json.is_object() && json.contains(key) && json.at(key).is_string();
    return is_there ? json.at(key).get<std::string>() : std::string();
}

// The sparsity that the plan was made for, or the one that it has.
double level_of(const Plan &plan) {
    const auto &json = plan.provenance;
    const bool is_there =
        json.is_object() && json.contains("sparsity") && json.at("sparsity").is_number();
    return is_there ? json.at("sparsity").get<double>() : plan.effective_sparsity();
}

bool is_of(const Plan &plan, double sparsity) {
    const bool is_exact = plan.provenance.is_object() && plan.provenance.contains("sparsity");
    return std::fabs(level_of(plan) - sparsity) < (is_exact ? 1e-6 : k_near);
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
std::tuple<bool, double, int> rank_for(const Plan &plan, PlanPurpose purpose) {
    const bool is_for_prompts = plan.apply == Apply::prefill;
    return {is_for_prompts != (purpose == PlanPurpose::prompt), loss_of(plan, purpose),
            rank_of(plan)};
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

std::string percent(double sparsity) {
    return fmt::format("{:g}%", 100.0 * sparsity);
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
    check_plan_fits(plan, model.hparams().n_layers, model.fingerprint(), model.hparams().name);
    return plan;
}

FoundPlan plan_for_sparsity(const Model &model, double sparsity, const std::string &plans_dir,
                            PlanPurpose purpose) {
    std::set<std::string> levels;
    if (std::optional<Plan> plan = embedded_plan(model)) {
        levels.insert(percent(level_of(*plan)));
        if (is_of(*plan, sparsity)) {
            return {*plan, model.path(), notes_on(*plan, model, model.path())};
        }
    }
    std::vector<std::string> left_out;
    std::vector<Candidate> candidates;
    for (Candidate &candidate : plans_for(model, plans_dir, left_out)) {
        levels.insert(percent(level_of(candidate.head)));
        if (is_of(candidate.head, sparsity)) {
            candidates.push_back(std::move(candidate));
        }
    }
    if (candidates.empty()) {
        fail(ErrorKind::usage,
             "no plan of {} for this model (fingerprint {}) in {}{}: make one with `orthorank "
             "select-layers -m {} --calibration TEXT --sparsity {} -o PLAN` and give it with "
             "--plan PLAN{}{}",
             percent(sparsity), model.fingerprint(), plans_dir,
             levels.empty() ? "" : fmt::format(", only of {}", fmt::join(levels, ", ")),
             model.path(), percent(sparsity), left_out.empty() ? "" : "; ",
             fmt::join(left_out, "; "));
    }
    const std::string path =
        std::min_element(candidates.begin(), candidates.end(), [&](const auto &a, const auto &b) {
            return rank_for(a.head, purpose) < rank_for(b.head, purpose);
        })->path;
    FoundPlan found{read_plan_files(path), path, std::move(left_out)};
    for (std::string &note : notes_on(found.plan, model, path)) {
        found.notes.push_back(std::move(note));
    }
    return found;
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
