// A report as one list of blocks, written as an HTML page and as Markdown. The page holds
// everything it needs: its style and its drawings are inside, nothing is loaded from elsewhere,
// and it has no script. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "report/comparison_table.h"

namespace orthorank {

struct PageBlock {
    enum class Kind {
        heading,  // of the second order; text
        text,     // a paragraph
        command,  // text as it is typed
        table,
        figure,  // svg, with text below, if any
    };
    Kind kind = Kind::text;
    std::string text;
    ComparisonTable table;
    std::string svg;
    std::string file;  // where the drawing lies beside the Markdown
};

class Page {
 public:
    explicit Page(std::string title) : title_(std::move(title)) {}

    void heading(std::string text);
    void text(std::string text);
    void command(std::string text);
    void table(ComparisonTable table);
    // file: of the same drawing, for Markdown; empty: not there.
    void figure(std::string svg, std::string text, std::string file = {});

    // Well-formed XML and HTML 5 alike.
    std::string html() const;
    std::string markdown() const;

 private:
    std::string title_;
    std::vector<PageBlock> blocks_;
};

}  // namespace orthorank
