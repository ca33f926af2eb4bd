// Tables 1 to 4, with 7 and 8, which have the single numbers of 2 and 3.
#include <fmt/format.h>

#include "reproduction/entry_parts.h"

namespace orthorank {

namespace {

const std::vector<std::string> k_main_plans = {
    "dense",        "sleb-10",      "orthorank-10",          "sleb-20",
    "orthorank-20", "shortened-10", "shortened-orthorank-10"};

Needs needs_of(Measure measure, const std::vector<std::string> &plans) {
    Needs needs;
    for (const std::string &plan : plans) {
        needs.add(measure, plan);
    }
    return needs;
}

Needs table_1_needs(const Workshop &) {
    return needs_of(Measure::perplexity, k_main_plans);
}

EntryResult table_1(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    for (const std::string &plan : k_main_plans) {
        Cells cells = plan_cells(workshop, plan);
        add_perplexity(workshop, plan, cells);
        add_row(cells, table);
    }
    result.tables = {{"This model, C4.", table}};
    result.claims = {lower_perplexity(workshop, "orthorank-10", "sleb-10", ""),
                     lower_perplexity(workshop, "orthorank-20", "sleb-20", ""),
                     lower_perplexity(workshop, "shortened-orthorank-10", "shortened-10", "")};
    result.notes = {extent_of_perplexity(workshop)};
    return result;
}

Needs table_2_needs(const Workshop &) {
    return needs_of(Measure::choices, k_main_plans);
}

EntryResult table_2(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    for (const std::string &plan : k_main_plans) {
        Cells cells = plan_cells(workshop, plan);
        for (const EvalTask &task : workshop.sources().choices) {
            const TaskValues &values = workshop.findings().of(plan).choices;
            const auto found = values.find(task.name);
            cells.emplace_back(task.name, found == values.end()
                                              ? ""
                                              : estimate_text(estimate_mean(found->second), 100));
        }
        add_mean(workshop, plan, cells);
        add_row(cells, table);
    }
    result.tables = {{"This model, per cent right.", table}};
    result.claims = {higher_accuracy(workshop, "orthorank-10", "sleb-10", ""),
                     higher_accuracy(workshop, "orthorank-20", "sleb-20", ""),
                     higher_accuracy(workshop, "shortened-orthorank-10", "shortened-10", "")};
    result.notes = {extent_of_tasks(workshop)};
    return result;
}

// Plans by calibration length: {length, per cent, search}.
std::string length_plan(const Workshop &workshop, const char *search, int percent, int length) {
    const bool is_main = length == workshop.budget().search_tokens;
    return fmt::format("{}-{}{}", search, percent, is_main ? "" : at_length(length));
}

Needs table_3_needs(const Workshop &workshop) {
    Needs needs;
    needs.add(Measure::longbench, "dense");
    for (int length : workshop.budget().calibration_lengths) {
        for (int percent : {10, 20}) {
            for (const char *search : {"sleb", "orthorank"}) {
                needs.add(Measure::longbench, length_plan(workshop, search, percent, length));
            }
        }
    }
    return needs;
}

void add_longbench_row(const Workshop &workshop, const std::string &calibration,
                       const std::string &plan, ComparisonTable &table) {
    const TaskValues &values = workshop.findings().of(plan).longbench;
    Cells cells = {{"calibration", calibration}};
    for (auto &cell : plan_cells(workshop, plan)) {
        cells.push_back(cell);
    }
    for (const LongBenchTask &task : workshop.sources().longbench) {
        const auto found = values.find(std::string(task.set->name));
        cells.emplace_back(task.set->label, found == values.end()
                                                ? ""
                                                : estimate_text(estimate_mean(found->second)));
    }
    cells.emplace_back("mean", estimate_text(mean_of(values)));
    add_row(cells, table);
}

Claim better_on_longbench(const Workshop &workshop, const std::string &text,
                          const std::string &better, const std::string &worse) {
    const Findings &findings = workshop.findings();
    return tested_claim(
        text, higher_mean(findings.of(better).longbench, findings.of(worse).longbench), k_points);
}

void add_length_claims(const Workshop &workshop, std::vector<Claim> &claims) {
    const std::vector<int> &lengths = workshop.budget().calibration_lengths;
    const int shortest = lengths.front();
    const int longest = lengths.back();
    for (int percent : {10, 20}) {
        const std::string sleb = length_plan(workshop, "sleb", percent, shortest);
        claims.push_back(better_on_longbench(
            workshop,
            fmt::format("calibrated on {} tokens, OrthoRank scores above SLEB at {}%", shortest,
                        percent),
            length_plan(workshop, "orthorank", percent, shortest), sleb));
        if (longest == shortest) {
            continue;
        }
        claims.push_back(better_on_longbench(
            workshop,
            fmt::format("SLEB at {}% scores higher when calibrated on {} tokens than on {}",
                        percent, longest, shortest),
            length_plan(workshop, "sleb", percent, longest), sleb));
    }
    if (longest > shortest) {
        claims.push_back(better_on_longbench(
            workshop,
            fmt::format("OrthoRank at 10% scores higher when calibrated on {} tokens than on {}",
                        longest, shortest),
            length_plan(workshop, "orthorank", 10, longest),
            length_plan(workshop, "orthorank", 10, shortest)));
    }
}

EntryResult table_3(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    add_longbench_row(workshop, "", "dense", table);
    for (int length : workshop.budget().calibration_lengths) {
        for (int percent : {10, 20}) {
            for (const char *search : {"sleb", "orthorank"}) {
                add_longbench_row(workshop, std::to_string(length),
                                  length_plan(workshop, search, percent, length), table);
            }
        }
    }
    result.tables = {{"This model, LongBench scores, 0 to 100.", table}};
    add_length_claims(workshop, result.claims);
    std::string sets;
    for (const LongBenchTask &task : workshop.sources().longbench) {
        sets += fmt::format("{}{} of {}", sets.empty() ? "" : ", ", task.prompts.size(),
                            task.set->name);
    }
    result.notes = {sets.empty() ? "None of the 16 sets can be run here."
                                 : fmt::format("The first records ({}), prompts of at most {} "
                                               "tokens; the mean is over these sets.",
                                               sets, workshop.sources().longbench_length)};
    return result;
}

const std::vector<std::string> k_table_4_plans = {"dense", "sleb-20", "orthorank-20"};

Needs table_4_needs(const Workshop &) {
    return needs_of(Measure::truthful, k_table_4_plans);
}

EntryResult table_4(const Workshop &workshop) {
    EntryResult result;
    ComparisonTable table;
    const auto cell = [&](const std::string &plan, const std::string &task, double factor) {
        const TaskValues &values = workshop.findings().of(plan).truthful;
        const auto found = values.find(task);
        return found == values.end() ? "" : estimate_text(estimate_mean(found->second), factor);
    };
    for (const std::string &plan : k_table_4_plans) {
        Cells cells = plan_cells(workshop, plan);
        cells.emplace_back("mc1, %", cell(plan, "truthfulqa-mc1", 100));
        cells.emplace_back("gen (BLEU, best correct answer)", cell(plan, "truthfulqa-gen", 1));
        add_row(cells, table);
    }
    result.tables = {{"This model, TruthfulQA.", table}};
    const TaskValues &ours = workshop.findings().of("orthorank-20").truthful;
    const TaskValues &sleb = workshop.findings().of("sleb-20").truthful;
    result.claims = {
        tested_claim("mc1: OrthoRank is above SLEB at 20%",
                     scaled(higher_value(ours, sleb, "truthfulqa-mc1"), 100), k_points),
        tested_claim("gen: OrthoRank is above SLEB at 20%",
                     higher_value(ours, sleb, "truthfulqa-gen"), k_points)};
    for (const EvalTask &task : workshop.sources().truthful) {
        result.notes.push_back(fmt::format("{}: the first {} questions.", task.name, task.size()));
    }
    return result;
}

}  // namespace

std::vector<Entry> quality_entries() {
    return {
        {"table1", {}, "Table 1: perplexity on C4", table_1_needs, table_1},
        {"table2", {"table7"}, "Tables 2 and 7: five zero-shot tasks", table_2_needs, table_2},
        {"table3",
         {"table8"},
         "Tables 3 and 8: LongBench against the calibration length",
         table_3_needs,
         table_3},
        {"table4", {}, "Table 4: TruthfulQA", table_4_needs, table_4},
    };
}

}  // namespace orthorank
