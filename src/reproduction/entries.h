// The paper's tables and figures, one list: what each needs to be measured, and what it shows of
// what was found.
#pragma once

#include <string>
#include <vector>

#include "reproduction/claims.h"
#include "reproduction/needs.h"
#include "reproduction/workshop.h"

namespace orthorank {

struct CaptionedTable {
    std::string caption;
    ComparisonTable table;
};

struct EntryResult {
    std::vector<CaptionedTable> tables;
    std::vector<Figure> figures;
    std::vector<Claim> claims;
    std::vector<std::string> notes;
};

struct Entry {
    std::string name;  // "table1", "fig7"
    std::vector<std::string> other_names;
    std::string title;
    Needs (*needs)(const Workshop &);
    EntryResult (*show)(const Workshop &);
    bool is_timed = false;  // has numbers that another run measures anew
};

// In the order of the report.
const std::vector<Entry> &entries();

// Those of a list such as "table1,fig7" (empty: all), in the order of the report. Throws
// Error{usage} that lists the known ones.
std::vector<Entry> chosen_entries(const std::string &list);

// Their parts, one file each.
std::vector<Entry> quality_entries();      // Tables 1 to 4 with 7 and 8
std::vector<Entry> ablation_entries();     // Tables 5, 6, 9, 10
std::vector<Entry> sparsity_entries();     // Figures 6, 7, 8, 14
std::vector<Entry> observation_entries();  // Figures 2 to 5 and 9 to 13

}  // namespace orthorank
