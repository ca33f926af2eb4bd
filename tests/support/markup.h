// Reads SVG and the HTML that the program writes, strictly, as XML: for tests of drawings and
// pages.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace orthorank::test {

struct MarkupElement {
    std::string name;
    std::map<std::string, std::string> attributes;  // unescaped
    std::string text;                               // its own, unescaped, without its children's
    std::string parent;                             // the name of the element around it

    double number(const std::string &attribute) const;
};

// All elements in order of their beginnings. Throws std::runtime_error for what is not well-formed:
// tags that do not match, bare < or &, attributes without quotes or given twice.
std::vector<MarkupElement> read_markup(const std::string &text);

std::vector<MarkupElement> elements_named(const std::vector<MarkupElement> &elements,
                                          const std::string &name);

// A drawing that is well-formed, with no NaN in it, every text and every mark within its box.
testing::AssertionResult is_sound_svg(const std::string &svg);

}  // namespace orthorank::test
