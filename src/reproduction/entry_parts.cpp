#include "reproduction/entry_parts.h"

#include <fmt/format.h>

#include <cmath>

#include "report/numbers_text.h"

namespace orthorank {

namespace {

// "5 selecting at 0.333", "3 removed", "9 selecting at 0 to 0.667".
std::string change_text(const Plan &plan) {
    const std::vector<int> selecting = plan.layers_with(Action::select);
    if (selecting.empty()) {
        const size_t n_removed = plan.layers_with(Action::skip).size();
        return n_removed == 0 ? "" : fmt::format("{} removed", n_removed);
    }
    double low = 1;
    double high = 0;
    for (int il : selecting) {
        low = std::min(low, plan.layers[static_cast<size_t>(il)].ratio);
        high = std::max(high, plan.layers[static_cast<size_t>(il)].ratio);
    }
    return low == high
               ? fmt::format("{} selecting at {:.3f}", selecting.size(), low)
               : fmt::format("{} selecting at {:.3f} to {:.3f}", selecting.size(), low, high);
}

std::string label_of(const Workshop &workshop, const std::string &plan) {
    return workshop.recipes().plan(plan).label;
}

}  // namespace

std::string estimate_text(const std::optional<Estimate> &estimate, double factor, int n_digits) {
    return estimate
               ? with_error(factor * estimate->mean, factor * estimate->standard_error, n_digits)
               : "";
}

std::optional<Estimate> scaled(std::optional<Estimate> estimate, double factor) {
    if (estimate) {
        estimate->mean *= factor;
        estimate->standard_error *= std::fabs(factor);
    }
    return estimate;
}

Cells plan_cells(const Workshop &workshop, const std::string &plan) {
    const PlanFindings &findings = workshop.findings().of(plan);
    const bool is_found = findings.plan.n_layers() > 0;
    return {{"plan", label_of(workshop, plan)},
            {"layers", is_found ? change_text(findings.plan) : ""},
            {"sparsity",
             is_found ? fmt::format("{:.1f}%", 100 * findings.plan.effective_sparsity()) : ""}};
}

void add_perplexity(const Workshop &workshop, const std::string &plan, Cells &cells) {
    const PlanFindings &findings = workshop.findings().of(plan);
    const PlanFindings &dense = workshop.findings().of("dense");
    cells.emplace_back("perplexity", estimate_text(perplexity_of(findings)));
    std::optional<Estimate> ratio = less_loss(dense, findings);
    if (ratio) {
        ratio->mean = std::exp(ratio->mean);
        ratio->standard_error *= ratio->mean;
    }
    cells.emplace_back("ratio to dense", plan == "dense" ? "1" : estimate_text(ratio, 1, 3));
}

void add_mean(const Workshop &workshop, const std::string &plan, Cells &cells) {
    const PlanFindings &findings = workshop.findings().of(plan);
    const PlanFindings &dense = workshop.findings().of("dense");
    cells.emplace_back("mean of the tasks, %", estimate_text(mean_of(findings.choices), 100));
    cells.emplace_back(
        "- dense, points",
        plan == "dense" ? "" : estimate_text(higher_mean(findings.choices, dense.choices), 100));
}

Claim lower_perplexity(const Workshop &workshop, const std::string &better,
                       const std::string &worse, const std::string &where) {
    const Findings &findings = workshop.findings();
    return tested_claim(fmt::format("{}the perplexity of {} is below that of {}", where,
                                    label_of(workshop, better), label_of(workshop, worse)),
                        less_loss(findings.of(better), findings.of(worse)), k_nats);
}

Claim higher_accuracy(const Workshop &workshop, const std::string &better, const std::string &worse,
                      const std::string &where) {
    const Findings &findings = workshop.findings();
    return tested_claim(
        fmt::format("{}the mean of the five tasks of {} is above that of {}", where,
                    label_of(workshop, better), label_of(workshop, worse)),
        scaled(higher_mean(findings.of(better).choices, findings.of(worse).choices), 100),
        k_points);
}

std::string extent_of_perplexity(const Workshop &workshop) {
    const std::optional<TextSet> &c4 = workshop.sources().c4;
    return c4 ? fmt::format(
                    "Perplexity: the first {} windows of {} tokens of C4's validation "
                    "split ({} of its {} first documents are there); the paper takes 256 "
                    "of 2048.",
                    c4->windows.size(), c4->windows.n_ctx, c4->n_documents, c4->n_wanted)
              : "Perplexity: C4 is not there.";
}

std::string extent_of_tasks(const Workshop &workshop) {
    std::string text;
    for (const EvalTask &task : workshop.sources().choices) {
        text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", task.size(), task.name);
    }
    return text.empty() ? "Tasks: none of the five is there."
                        : "Tasks, zero-shot: the first documents, " + text +
                              "; the mean counts each task alike.";
}

}  // namespace orthorank
