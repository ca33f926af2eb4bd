// How a reproduction looks: one page, as HTML and as Markdown, and as JSON. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "report/page.h"
#include "reproduction/reproduce.h"

namespace orthorank {

struct ReproductionReport {
    std::string model;    // name, type, layers
    std::string command;  // as typed
    std::string budget;
    std::string data_dir;
    std::vector<std::string> missing;
    std::vector<EntryReport> entries;
};

// A line for each claim, one that several entries have once: the outcome, the difference, the
// entries.
ComparisonTable claims_table(std::span<const EntryReport> entries);
// How many hold, do not, are within the noise and were not tested.
std::string claims_summary(std::span<const EntryReport> entries);

Page reproduction_page(const ReproductionReport &report);

// What follows the frame of a result: "budget", "data", "missing", "results".
void add_reproduction_json(const ReproductionReport &report, const Budget &budget,
                           nlohmann::ordered_json &json);

}  // namespace orthorank
