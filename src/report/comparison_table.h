// A table of texts, for a terminal and as Markdown. Pure functions.
#pragma once

#include <string>
#include <vector>

namespace orthorank {

struct ComparisonTable {
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows;  // as many cells as the header
};

// Columns made straight with blanks, the first one to the left, the others to the right.
std::string plain_text(const ComparisonTable &table);
std::string markdown_text(const ComparisonTable &table);

}  // namespace orthorank
