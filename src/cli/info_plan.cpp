#include "cli/info_plan.h"

#include <fmt/format.h>

#include <optional>

#include "base/console.h"
#include "base/error.h"
#include "cli/apply_options.h"
#include "engine/plan_files.h"
#include "report/numbers_text.h"
#include "timing/bounds.h"

namespace orthorank {

namespace {

// How much faster a prompt of so many tokens can be at most; nothing for a plan of another model.
std::optional<double> prompt_bound(const PlanInfo &info, const Model &model, int n_tokens) {
    if (!info.misfit.empty() || info.plan.apply == Apply::decode) {
        return std::nullopt;
    }
    return prefill_speed_up_bound(model_shape(model), info.plan, n_tokens, HeadRows::last_read);
}

std::string correction_text(const LayerPlan &layer) {
    return layer.correction == nullptr
               ? ""
               : fmt::format(", correction of rank {}", layer.correction->rank);
}

std::string apply_text(const Plan &plan) {
    if (plan.apply != Apply::prefill) {
        return plan.apply == Apply::decode ? "for decoded tokens alone"
                                           : "for every row, of prompts and decoded";
    }
    return plan.keep_last > 0
               ? fmt::format("for prompts alone, their last {} rows computed in every layer",
                             plan.keep_last)
               : "for prompts alone";
}

// Where the plan applies, what it gains at most and what it was measured to cost.
void print_use(const PlanInfo &info, const Model &model, int n_ctx) {
    print("  {}\n", apply_text(info.plan));
    if (const std::optional<double> bound = prompt_bound(info, model, n_ctx)) {
        print("  a prompt of {} tokens at most {:.2f} times as fast\n", n_ctx, *bound);
    }
    for (const PlanPurpose purpose : {PlanPurpose::prompt, PlanPurpose::every_row}) {
        if (const std::string loss = loss_text(info.plan, purpose, 0); !loss.empty()) {
            print("  {}\n", loss);
        }
    }
}

}  // namespace

PlanInfo plan_info(const Model &model, const std::string &path) {
    if (is_by_sparsity(path)) {
        return {read_plan_for(model, path, PlanPurpose::prompt), ""};  // what `generate` takes
    }
    PlanInfo info{read_plan_files(path), ""};
    try {
        check_plan_fits(info.plan, model.hparams().n_layers, model.hparams().n_embd,
                        model.fingerprint(), model.hparams().name);
    } catch (const Error &error) {
        info.misfit = error.what();
    }
    return info;
}

nlohmann::ordered_json plan_json(const PlanInfo &info, const Model &model, int n_ctx) {
    const nlohmann::ordered_json file = plan_to_json(info.plan);
    nlohmann::ordered_json json;
    json["plan"] = info.plan.name;
    json["fits"] = info.misfit.empty();
    json["misfit"] = nullptr;
    if (!info.misfit.empty()) {
        json["misfit"] = info.misfit;
    }
    json["has_fingerprint"] = !info.plan.fingerprint.empty();
    json["n_layers"] = info.plan.n_layers();
    json["effective_sparsity"] = info.plan.effective_sparsity();
    json["number_bytes"] = plan_number_bytes(info.plan);
    json["apply"] = apply_name(info.plan.apply);
    json["keep_last"] = info.plan.keep_last;
    json["prompt_bound"] = nullptr;
    if (const std::optional<double> bound = prompt_bound(info, model, n_ctx)) {
        json["prompt_bound"] = *bound;
    }
    json["measured"] =
        file.contains("measured") ? file["measured"] : nlohmann::ordered_json::array();
    json["layers"] = file["layers"];
    return json;
}

void print_plan(const PlanInfo &info, const Model &model, int n_ctx) {
    const Plan &plan = info.plan;
    print("\nplan {}: effective sparsity {:.1f}%\n", plan.name, 100.0 * plan.effective_sparsity());
    if (!info.misfit.empty()) {
        print("  does not fit this model: {}\n", info.misfit);
    } else {
        print("  fits this model ({})\n", plan.fingerprint.empty()
                                              ? "by its number of layers; it has no fingerprint"
                                              : "same fingerprint");
    }
    print_use(info, model, n_ctx);
    for (int il = 0; il < plan.n_layers(); ++il) {
        const LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        if (layer.action == Action::skip) {
            print("  layer {:>3}  skip{}\n", il, correction_text(layer));
        } else if (layer.action == Action::select) {
            print("  layer {:>3}  select {:g} {}{}{}\n", il, layer.ratio, policy_name(layer.policy),
                  layer.policy.score == ScoreKind::hash
                      ? fmt::format(", seed {}", layer.policy.seed)
                      : "",
                  correction_text(layer));
        }
    }
    if (plan.has_numbers()) {
        print("  corrections and probes: {}\n", bytes_text(plan_number_bytes(plan)));
    }
}

}  // namespace orthorank
