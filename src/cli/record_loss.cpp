#include "cli/record_loss.h"

#include <filesystem>

#include "base/console.h"
#include "base/error.h"
#include "calibration/partial_file.h"
#include "engine/plan_files.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

// What one set of texts is called in a plan.
std::string text_name(const TextSet &set) {
    std::string name = set.name;
    for (const std::string &file : set.files) {
        if (set.name.empty()) {
            name += (name.empty() ? "" : " + ") + std::filesystem::path(file).filename().string();
        }
    }
    return name;
}

PlanLoss loss_of(const PerplexityResult &result, const TextSet &set, const Model &model) {
    PlanLoss loss;
    loss.text = text_name(set);
    loss.n_windows = static_cast<int>(set.windows.size());
    loss.n_ctx = set.windows.n_ctx;
    loss.n_continuation = set.windows.n_continuation;
    loss.ratio = result.ratio;
    loss.se = result.ratio_se;
    loss.weights = model.type_in_use();
    loss.date = today_utc();
    loss.version = program_version();
    return loss;
}

}  // namespace

void check_can_be_recorded(std::span<const TextSet> sets) {
    for (const TextSet &set : sets) {
        if (set.windows.size() < 2) {
            fail(ErrorKind::usage, "--record: {} has one window, whose loss has no standard error",
                 text_name(set));
        }
    }
}

void record_loss(const std::string &path, const PerplexityResult &result, const TextSet &set,
                 const Model &model) {
    const PlanLoss loss = loss_of(result, set, model);
    Plan plan = read_plan_files(path);
    std::erase_if(plan.losses, [&](const PlanLoss &other) {
        const bool is_same = other.text == loss.text && other.weights == loss.weights &&
                             other.n_ctx == loss.n_ctx &&
                             other.n_continuation == loss.n_continuation;
        if (is_same && other.n_windows > loss.n_windows) {
            remark("note: {}: the record of {} windows of {} is replaced by one of {}", plan.name,
                   other.n_windows, other.text, loss.n_windows);
        }
        return is_same;
    });
    plan.losses.push_back(loss);
    replace_plan_json(plan, path);
}

}  // namespace orthorank
