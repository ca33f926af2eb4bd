// A table of texts: for a terminal, as Markdown and as CSV. Pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace orthorank {

struct ComparisonTable {
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows;  // as many cells as the header
};

// A row as it is put together: columns and their texts.
using Cells = std::vector<std::pair<std::string, std::string>>;
// The first row names the columns; the others have the same ones.
void add_row(const Cells &cells, ComparisonTable &table);

// Columns made straight with blanks, the first one to the left, the others to the right.
std::string plain_text(const ComparisonTable &table);
std::string markdown_text(const ComparisonTable &table);
// RFC 4180 but for the line ends, which are "\n".
std::string csv_text(const ComparisonTable &table);

}  // namespace orthorank
