#include "reproduction/reproduction_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "calibration/partial_file.h"
#include "report/json_text.h"
#include "report/svg.h"
#include "reproduction/paper_values.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

std::string difference_text(const Claim &claim) {
    return claim.difference ? fmt::format("{} ± {} {}", value_text(claim.difference->mean),
                                          value_text(claim.difference->standard_error), claim.unit)
                            : "";
}

Cells claim_cells(const Claim &claim) {
    return {{"claim", claim.text},
            {"outcome", outcome_name(claim.outcome)},
            {"difference", difference_text(claim)},
            {"remark", claim.reason}};
}

void add_entry(const EntryReport &report, Page &page) {
    page.heading(report.entry.title);
    for (const std::string &note : report.result.notes) {
        page.text(note);
    }
    for (const CaptionedTable &table : report.result.tables) {
        page.text(table.caption);
        page.table(table.table);
    }
    for (const Figure &figure : report.result.figures) {
        page.figure(figure.svg, figure.caption, figure.name + ".svg");
    }
    const std::vector<PaperValues> values = paper_values(report.entry.name);
    for (const PaperValues &paper : values) {
        page.text(paper.caption);
        page.table(paper.table);
    }
    if (values.empty()) {
        page.text("The paper's own values are not in its text here: nothing stands beside them.");
    }
    if (!report.result.claims.empty()) {
        ComparisonTable claims;
        for (const Claim &claim : report.result.claims) {
            add_row(claim_cells(claim), claims);
        }
        page.text("Claims.");
        page.table(claims);
    }
    if (!report.commands.empty()) {
        page.text("Each number by itself:");
        for (const std::string &command : report.commands) {
            page.command(command);
        }
    }
}

Json table_json(const std::string &caption, const ComparisonTable &table) {
    Json rows = Json::array();
    for (const std::vector<std::string> &cells : table.rows) {
        Json row = Json::object();
        for (size_t i = 0; i < cells.size(); ++i) {
            row[table.header[i]] = cells[i];
        }
        rows.push_back(row);
    }
    return {{"caption", caption}, {"rows", rows}};
}

Json claim_json(const Claim &claim) {
    Json json = {{"text", claim.text},        {"outcome", outcome_name(claim.outcome)},
                 {"difference", nullptr},     {"se", nullptr},
                 {"unit", claim.unit},        {"remark", claim.reason},
                 {"is_timed", claim.is_timed}};
    if (claim.difference) {
        json["difference"] = json_number(claim.difference->mean);
        json["se"] = json_number(claim.difference->standard_error);
    }
    return json;
}

Json entry_json(const EntryReport &report) {
    Json json = {{"name", report.entry.name},         {"title", report.entry.title},
                 {"is_timed", report.entry.is_timed}, {"notes", report.result.notes},
                 {"tables", Json::array()},           {"paper", Json::array()},
                 {"figures", Json::array()},          {"claims", Json::array()},
                 {"commands", report.commands}};
    for (const CaptionedTable &table : report.result.tables) {
        json["tables"].push_back(table_json(table.caption, table.table));
    }
    for (const PaperValues &paper : paper_values(report.entry.name)) {
        json["paper"].push_back(table_json(paper.caption, paper.table));
    }
    for (const Figure &figure : report.result.figures) {
        json["figures"].push_back({{"name", figure.name}, {"caption", figure.caption}});
    }
    for (const Claim &claim : report.result.claims) {
        json["claims"].push_back(claim_json(claim));
    }
    return json;
}

// A claim that several entries support, of the same numbers, counts once.
struct SharedClaim {
    const Claim *claim = nullptr;
    std::string from;  // "table1, fig8"
};

std::vector<SharedClaim> shared_claims(std::span<const EntryReport> entries) {
    std::vector<SharedClaim> shared;
    for (const EntryReport &report : entries) {
        for (const Claim &claim : report.result.claims) {
            const auto found = std::find_if(
                shared.begin(), shared.end(),
                [&](const SharedClaim &other) { return other.claim->text == claim.text; });
            if (found == shared.end()) {
                shared.push_back({&claim, report.entry.name});
            } else {
                found->from += ", " + report.entry.name;
            }
        }
    }
    return shared;
}

}  // namespace

ComparisonTable claims_table(std::span<const EntryReport> entries) {
    ComparisonTable table;
    for (const SharedClaim &shared : shared_claims(entries)) {
        Cells cells = claim_cells(*shared.claim);
        cells.emplace_back("from", shared.from);
        add_row(cells, table);
    }
    return table;
}

std::string claims_summary(std::span<const EntryReport> entries) {
    std::array<size_t, 4> counts{};
    for (const SharedClaim &shared : shared_claims(entries)) {
        ++counts[static_cast<size_t>(shared.claim->outcome)];
    }
    std::string text;
    for (const Outcome outcome :
         {Outcome::holds, Outcome::does_not_hold, Outcome::within_noise, Outcome::not_tested}) {
        text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", outcome_name(outcome),
                            counts[static_cast<size_t>(outcome)]);
    }
    return text;
}

Page reproduction_page(const ReproductionReport &report) {
    Page page("OrthoRank's tables and figures: " + report.model);
    page.text(fmt::format(
        "Every table and figure of the paper (Shin, Oh, Oh: OrthoRank, ICML 2025) that was asked "
        "for, made of this model with the budget \"{}\", beside what the paper prints for its "
        "models of 7 billion parameters and more, which are other models: their values are to be "
        "compared row with row, not cell with cell. ± is one standard error.",
        report.budget));
    page.command(report.command);
    if (!report.missing.empty()) {
        page.heading("What is missing");
        for (const std::string &line : report.missing) {
            page.text(line);
        }
    }
    const ComparisonTable claims = claims_table(report.entries);
    if (!claims.rows.empty()) {
        page.heading("Claims");
        page.text(fmt::format(
            "Sentences of the paper as tests on this model. A claim holds when its difference is "
            "above zero by more than its noise (Student's t, 5 in 100: 2 standard errors, more of "
            "few windows), does not hold when it is below zero by more, and is within the noise "
            "between. Differences are paired where the same windows, documents or records are "
            "compared. With so many claims a few outcomes of the first two kinds are chance. {}.",
            claims_summary(report.entries)));
        page.table(claims);
    }
    for (const EntryReport &entry : report.entries) {
        add_entry(entry, page);
    }
    return page;
}

void add_reproduction_json(const ReproductionReport &report, const Budget &budget, Json &json) {
    json["budget"] = budget_json(budget);
    json["data"] = report.data_dir;
    json["missing"] = report.missing;
    json["results"] = Json::array();
    for (const EntryReport &entry : report.entries) {
        json["results"].push_back(entry_json(entry));
    }
}

}  // namespace orthorank
