// Tables 5, 6, 9 and 10: what makes a token worth computing, how ratios are spread, and a text.
#include <fmt/format.h>

#include "report/numbers_text.h"
#include "reproduction/entry_parts.h"
#include "reproduction/measurements.h"

namespace orthorank {

namespace {

void add_quality(Needs &needs, const std::string &plan) {
    needs.add(Measure::perplexity, plan);
    needs.add(Measure::choices, plan);
}

void add_quality_row(const Workshop &workshop, const std::string &plan, ComparisonTable &table) {
    Cells cells = plan_cells(workshop, plan);
    add_perplexity(workshop, plan, cells);
    add_mean(workshop, plan, cells);
    add_row(cells, table);
}

std::vector<std::string> quality_extent(const Workshop &workshop) {
    return {extent_of_perplexity(workshop), extent_of_tasks(workshop)};
}

Needs table_5_needs(const Workshop &) {
    Needs needs;
    add_quality(needs, "dense");
    add_quality(needs, "orthorank-20");
    for (const std::string &policy : table_5_policies()) {
        add_quality(needs, policy + "-20");
        add_quality(needs, policy + "-in-ours");
    }
    return needs;
}

EntryResult table_5(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable own;
    ComparisonTable same;
    add_quality_row(workshop, "dense", own);
    for (const std::string &policy : table_5_policies()) {
        add_quality_row(workshop, policy + "-20", own);
        add_quality_row(workshop, policy + "-in-ours", same);
        for (const std::string &other : {policy + "-20", policy + "-in-ours"}) {
            result.claims.push_back(lower_perplexity(workshop, "orthorank-20", other, ""));
            result.claims.push_back(higher_accuracy(workshop, "orthorank-20", other, ""));
        }
    }
    add_quality_row(workshop, "orthorank-20", own);
    add_quality_row(workshop, "orthorank-20", same);
    result.tables = {
        {"This model, each criterion with layers of its own search.", own},
        {"This model, all criteria in the layers that OrthoRank's search found.", same}};
    result.notes = quality_extent(workshop);
    result.notes.push_back(
        "The paper does not say whether layers are searched for again for each criterion; both "
        "readings are measured.");
    return result;
}

Needs table_6_needs(const Workshop &) {
    Needs needs;
    for (const char *plan : {"dense", "orthorank-20", "attention-up-20", "attention-up-in-ours"}) {
        add_quality(needs, plan);
    }
    needs.add(Measure::speed, "orthorank-20");
    needs.add(Measure::speed, "attention-up-20");
    return needs;
}

Claim timed(Claim claim) {
    claim.is_timed = true;
    return claim;
}

EntryResult table_6(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    const Findings &findings = workshop.findings();
    for (const char *plan : {"dense", "orthorank-20", "attention-up-20", "attention-up-in-ours"}) {
        Cells cells = plan_cells(workshop, plan);
        add_perplexity(workshop, plan, cells);
        add_mean(workshop, plan, cells);
        cells.emplace_back("throughput over dense",
                           rounded_text(speed_up_of(findings.of(plan).speed), 3));
        add_row(cells, table);
    }
    result.tables = {{"This model.", table}};
    const SpeedPair &ours = findings.of("orthorank-20").speed;
    const SpeedPair &attention = findings.of("attention-up-20").speed;
    const char *const unit = "of the logarithm of the throughput";
    result.claims = {
        higher_accuracy(workshop, "orthorank-20", "attention-up-20", ""),
        lower_perplexity(workshop, "orthorank-20", "attention-up-20", ""),
        timed(tested_claim("OrthoRank 20% is faster than the dense model", faster_than_dense(ours),
                           unit)),
        timed(tested_claim("OrthoRank 20% is faster than the attention-based selection",
                           faster(ours, attention), unit))};
    std::optional<Estimate> slower = scaled(faster_than_dense(attention), -1);
    result.claims.push_back(timed(
        tested_claim("attention-based selection is slower than the dense model", slower, unit)));
    const Budget &budget = workshop.budget();
    result.notes = quality_extent(workshop);
    result.notes.push_back(fmt::format(
        "Throughput: prefill of {} random tokens in {} sequence{}, the last row's logits alone, "
        "medians of {} repetitions beside the dense model; the paper: 32 prompts of 2048, 50 runs.",
        budget.speed_tokens, budget.n_speed_sequences, budget.n_speed_sequences == 1 ? "" : "s",
        budget.n_speed_repetitions));
    return result;
}

const std::vector<std::string> k_table_9_plans = {"orthorank-20", "rising-20", "falling-20"};

Needs table_9_needs(const Workshop &) {
    Needs needs;
    add_quality(needs, "dense");
    for (const std::string &plan : k_table_9_plans) {
        add_quality(needs, plan);
    }
    return needs;
}

EntryResult table_9(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    add_quality_row(workshop, "dense", table);
    for (const std::string &plan : k_table_9_plans) {
        add_quality_row(workshop, plan, table);
    }
    result.tables = {{"This model, the layers of OrthoRank 20% throughout.", table}};
    result.claims = {lower_perplexity(workshop, "orthorank-20", "rising-20", ""),
                     lower_perplexity(workshop, "orthorank-20", "falling-20", ""),
                     higher_accuracy(workshop, "falling-20", "rising-20", ""),
                     higher_accuracy(workshop, "falling-20", "orthorank-20", "")};
    result.notes = quality_extent(workshop);
    return result;
}

const std::vector<std::string> k_table_10_plans = {"dense", "sleb-20", "orthorank-20"};

Needs table_10_needs(const Workshop &) {
    Needs needs;
    for (const std::string &plan : k_table_10_plans) {
        needs.add(Measure::text, plan);
    }
    return needs;
}

std::string in_json(const std::string &text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

EntryResult table_10(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    for (const std::string &plan : k_table_10_plans) {
        Cells cells = plan_cells(workshop, plan);
        cells.emplace_back("continuation", in_json(workshop.findings().of(plan).text));
        add_row(cells, table);
    }
    result.tables = {{fmt::format("This model, \"{}\" continued greedily by at most {} tokens.",
                                  k_text_prompt, workshop.budget().n_generated),
                      table}};
    result.notes = {
        "The paper's prompt and texts are not in the text at hand; this prompt is ours. A text is "
        "no test: there is no claim here."};
    return result;
}

}  // namespace

std::vector<Entry> ablation_entries() {
    return {
        {"table5", {}, "Table 5: what makes a token worth computing", table_5_needs, table_5},
        {"table6", {}, "Table 6: selection by attention", table_6_needs, table_6, true},
        {"table9", {}, "Table 9: ratios by depth", table_9_needs, table_9},
        {"table10", {}, "Table 10: a generated text", table_10_needs, table_10},
    };
}

}  // namespace orthorank
