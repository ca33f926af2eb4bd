#include "report/page.h"

#include <fmt/format.h>

#include "report/svg.h"

namespace orthorank {

namespace {

constexpr const char *k_page_style =
    "<style>\n"
    "body { font: 15px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; "
    "color: #222222; background: #ffffff }\n"
    "table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; "
    "display: block; overflow-x: auto }\n"
    "th, td { border: 1px solid #bbbbbb; padding: 0.2rem 0.6rem; text-align: right }\n"
    "th:first-child, td:first-child { text-align: left }\n"
    "figure { margin: 1.5rem 0; overflow-x: auto; break-inside: avoid }\n"
    "figcaption { font-size: 13px }\n"
    "figure svg { max-width: 100%; height: auto }\n"
    "pre { background: #f2f2f2; padding: 0.6rem; overflow-x: auto; white-space: pre-wrap }\n"
    "@media screen and (prefers-color-scheme: dark) {\n"
    "  body { color: #e4e6eb; background: #16181d }\n"
    "  th, td { border-color: #3a3f4a }\n"
    "  pre { background: #22262e }\n"
    "}\n"
    "</style>\n";

std::string table_html(const ComparisonTable &table) {
    const auto row_html = [](const std::vector<std::string> &cells, const char *tag) {
        std::string row = "<tr>";
        for (const std::string &cell : cells) {
            row += fmt::format("<{0}>{1}</{0}>", tag, xml_escaped(cell));
        }
        return row + "</tr>\n";
    };
    std::string html = "<table>\n<thead>" + row_html(table.header, "th") + "</thead>\n<tbody>\n";
    for (const std::vector<std::string> &row : table.rows) {
        html += row_html(row, "td");
    }
    return html + "</tbody>\n</table>\n";
}

std::string block_html(const PageBlock &block) {
    const std::string text = xml_escaped(block.text);
    switch (block.kind) {
        case PageBlock::Kind::heading:
            return "<h2>" + text + "</h2>\n";
        case PageBlock::Kind::text:
            return "<p>" + text + "</p>\n";
        case PageBlock::Kind::command:
            return "<pre>" + text + "</pre>\n";
        case PageBlock::Kind::table:
            return table_html(block.table);
        case PageBlock::Kind::figure:
            return "<figure>\n" + block.svg +
                   (text.empty() ? "" : "<figcaption>" + text + "</figcaption>\n") + "</figure>\n";
    }
    return "";
}

std::string block_markdown(const PageBlock &block) {
    switch (block.kind) {
        case PageBlock::Kind::heading:
            return "## " + block.text + "\n\n";
        case PageBlock::Kind::text:
            return block.text + "\n\n";
        case PageBlock::Kind::command:
            return "    " + block.text + "\n\n";
        case PageBlock::Kind::table:
            return markdown_text(block.table) + "\n";
        case PageBlock::Kind::figure:
            return block.file.empty() ? "" : fmt::format("![{}]({})\n\n", block.text, block.file);
    }
    return "";
}

}  // namespace

void Page::heading(std::string text) {
    blocks_.push_back({PageBlock::Kind::heading, std::move(text), {}, {}, {}});
}

void Page::text(std::string text) {
    blocks_.push_back({PageBlock::Kind::text, std::move(text), {}, {}, {}});
}

void Page::command(std::string text) {
    blocks_.push_back({PageBlock::Kind::command, std::move(text), {}, {}, {}});
}

void Page::table(ComparisonTable table) {
    blocks_.push_back({PageBlock::Kind::table, {}, std::move(table), {}, {}});
}

void Page::figure(std::string svg, std::string text, std::string file) {
    blocks_.push_back(
        {PageBlock::Kind::figure, std::move(text), {}, std::move(svg), std::move(file)});
}

std::string Page::html() const {
    std::string html = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<title>{0}</title>\n{1}</head>\n<body>\n<h1>{0}</h1>\n",
        xml_escaped(title_), k_page_style);
    for (const PageBlock &block : blocks_) {
        html += block_html(block);
    }
    return html + "</body>\n</html>\n";
}

std::string Page::markdown() const {
    std::string markdown = "# " + title_ + "\n\n";
    for (const PageBlock &block : blocks_) {
        markdown += block_markdown(block);
    }
    return markdown;
}

}  // namespace orthorank
