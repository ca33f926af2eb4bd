#include "cli/apply_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/console.h"
#include "base/error.h"
#include "select/plan_format.h"

namespace orthorank {

void ApplyArguments::check() const {
    const bool is_decode = !apply.empty() && apply_from_name(apply) == Apply::decode;
    if (is_decode && keep_last) {
        fail(ErrorKind::usage,
             "--keep-last does nothing with --apply decode: it keeps the prompt's last rows");
    }
}

PlanPurpose ApplyArguments::purpose(PlanPurpose usual) const {
    if (apply.empty()) {
        return usual;
    }
    return apply_from_name(apply) == Apply::prefill ? PlanPurpose::prompt : PlanPurpose::every_row;
}

Plan ApplyArguments::applied_to(Plan plan) const {
    if (!apply.empty()) {
        plan.apply = apply_from_name(apply);
    }
    plan.keep_last = keep_last.value_or(plan.keep_last);
    if (keep_last) {
        check_kept_rows(plan, ErrorKind::usage, plan.name);
    }
    return plan;
}

void add_apply_options(CLI::App &command, ApplyArguments &arguments) {
    command
        .add_option("--apply", arguments.apply,
                    "where the plan selects: prefill, decode or both (default: as the plan says, "
                    "else both)")
        ->type_name("MODE");
    add_keep_last_option(command, arguments);
}

void add_scoring_apply_options(CLI::App &command, ApplyArguments &arguments) {
    command
        .add_option("--apply", arguments.apply,
                    "both: every row is under the plan; prefill: what is scored or generated is "
                    "computed densely behind a prompt under it (default: as the plan says, else "
                    "both)")
        ->type_name("MODE");
    add_keep_last_option(command, arguments);
}

void add_keep_last_option(CLI::App &command, ApplyArguments &arguments) {
    command
        .add_option("--keep-last", arguments.keep_last,
                    "selecting layers compute the prompt's last W rows in any case (default: as "
                    "the plan says, else 0)")
        ->check(CLI::Range(0, 1 << 30))
        ->type_name("W");
}

void say_without_kept_rows(const Plan &plan) {
    remark(
        "note: {}: keep_last {} is left out: every row is scored here, not what follows a prompt",
        plan.name, plan.keep_last);
}

Plan for_every_row(Plan plan) {
    if (plan.keep_last > 0 && !plan.is_dense()) {
        say_without_kept_rows(plan);
    }
    plan.keep_last = 0;
    return plan;
}

void refuse_decode_plan(const Plan &plan) {
    if (plan.apply == Apply::decode) {
        fail(ErrorKind::usage,
             "plan {} is for decode alone, which is not measured here: rows are scored under it as "
             "a prompt's, or densely behind a prompt",
             plan.name);
    }
}

std::vector<Plan> read_scored_plans(const Model &model, const std::vector<std::string> &paths,
                                    bool with_dense, const ApplyArguments &arguments,
                                    PlanPurpose usual) {
    arguments.check();
    if (!arguments.apply.empty() && apply_from_name(arguments.apply) == Apply::decode) {
        fail(ErrorKind::usage,
             "--apply decode: decode alone is not measured here (known: prefill, both)");
    }
    std::vector<Plan> plans = read_plans(model, paths, with_dense, arguments.purpose(usual));
    for (Plan &plan : plans) {
        plan = arguments.applied_to(std::move(plan));
        refuse_decode_plan(plan);
    }
    return plans;
}

std::string loss_text(const Plan &plan, PlanPurpose purpose, size_t n_prompt) {
    std::string text;
    int n_longest = 0;
    for (const PlanLoss &loss : plan.losses) {
        if ((loss.n_continuation > 0) != (purpose == PlanPurpose::prompt)) {
            continue;
        }
        text += fmt::format("{}{:.3f} ± {:.3f} on {} ({} windows of {}{})",
                            text.empty() ? "perplexity over dense: " : ", ", loss.ratio, loss.se,
                            loss.text, loss.n_windows, loss.n_ctx,
                            loss.n_continuation > 0
                                ? fmt::format(", the last {} tokens of each", loss.n_continuation)
                                : "");
        n_longest = std::max(n_longest, loss.n_ctx);
    }
    if (!text.empty() && n_prompt > static_cast<size_t>(n_longest)) {
        text += fmt::format(
            "; this prompt of {} tokens is longer than that: it may cost more, and "
            "lose what stands far before",
            n_prompt);
    }
    return text;
}

}  // namespace orthorank
