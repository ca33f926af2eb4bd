#include "report/comparison_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace orthorank {

namespace {

// fmt pads by characters as wide as a terminal shows them: columns stay straight with ± in them.
std::string plain_line(const std::vector<std::string> &cells, const std::vector<size_t> &widths) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
        line += i == 0 ? fmt::format("{:<{}}", cells[i], widths[i])
                       : fmt::format("  {:>{}}", cells[i], widths[i]);
    }
    return line + "\n";
}

// Blanks that set a cell in are for terminals.
std::string_view without_indent(std::string_view cell) {
    cell.remove_prefix(std::min(cell.find_first_not_of(' '), cell.size()));
    return cell;
}

std::string markdown_line(const std::vector<std::string> &cells) {
    std::string line = "|";
    for (const std::string &cell : cells) {
        line += fmt::format(" {} |", replace_all(without_indent(cell), "|", "\\|"));
    }
    return line + "\n";
}

std::string csv_cell(const std::string &cell) {
    return cell.find_first_of(",\"\n\r") == std::string::npos
               ? cell
               : fmt::format("\"{}\"", replace_all(cell, "\"", "\"\""));
}

std::string csv_line(const std::vector<std::string> &cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
        line.append(i == 0 ? "" : ",").append(csv_cell(cells[i]));
    }
    return line + "\n";
}

}  // namespace

void add_row(const Cells &cells, ComparisonTable &table) {
    std::vector<std::string> texts;
    for (const auto &[column, text] : cells) {
        if (table.rows.empty()) {
            table.header.push_back(column);
        }
        texts.push_back(text);
    }
    CHECK(texts.size() == table.header.size());
    table.rows.push_back(std::move(texts));
}

std::string plain_text(const ComparisonTable &table) {
    std::vector<size_t> widths;
    for (size_t i = 0; i < table.header.size(); ++i) {
        widths.push_back(n_characters(table.header[i]));
        for (const std::vector<std::string> &row : table.rows) {
            widths[i] = std::max(widths[i], n_characters(row[i]));
        }
    }
    std::string text = plain_line(table.header, widths);
    for (const std::vector<std::string> &row : table.rows) {
        text += plain_line(row, widths);
    }
    return text;
}

std::string markdown_text(const ComparisonTable &table) {
    std::string text = markdown_line(table.header) + "|---|";
    for (size_t i = 1; i < table.header.size(); ++i) {
        text += "---:|";
    }
    text += "\n";
    for (const std::vector<std::string> &row : table.rows) {
        text += markdown_line(row);
    }
    return text;
}

std::string csv_text(const ComparisonTable &table) {
    std::string text = csv_line(table.header);
    for (const std::vector<std::string> &row : table.rows) {
        text += csv_line(row);
    }
    return text;
}

}  // namespace orthorank
