// What the paper (Shin, Oh, Oh: OrthoRank, ICML 2025) prints for its own models, to stand beside
// what is measured here. Data.
#pragma once

#include <string>
#include <vector>

#include "report/comparison_table.h"

namespace orthorank {

struct PaperValues {
    std::string caption;  // which table, and what was read into it
    ComparisonTable table;
};

// Those of an entry ("table1"); none where the paper has a figure without numbers in its text.
std::vector<PaperValues> paper_values(const std::string &entry);

}  // namespace orthorank
