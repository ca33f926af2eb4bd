#include "support/markup.h"

#include <algorithm>
#include <regex>
#include <stdexcept>

#include "base/utf8.h"

namespace orthorank::test {

namespace {

std::string unescaped(const std::string &text) {
    static const std::map<std::string, char> k_entities = {
        {"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}};
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '&') {
            result += text[i];
            continue;
        }
        const size_t end = text.find(';', i);
        const auto entity = end == std::string::npos
                                ? k_entities.end()
                                : k_entities.find(text.substr(i + 1, end - i - 1));
        if (entity == k_entities.end()) {
            throw std::runtime_error("a bare & in: " + text);
        }
        result += entity->second;
        i = end;
    }
    return result;
}

// `tag`: without < and >, and without the / of an empty element.
MarkupElement element_of(const std::string &tag) {
    static const std::regex shape(R"re(([A-Za-z][A-Za-z0-9]*)((?:\s+[A-Za-z][A-Za-z0-9:-]*="[^"<]*")*)\s*)re");
    static const std::regex attribute(R"re(([A-Za-z][A-Za-z0-9:-]*)="([^"]*)")re");
    std::smatch match;
    if (!std::regex_match(tag, match, shape)) {
        throw std::runtime_error("no well-formed tag: <" + tag + ">");
    }
    MarkupElement element;
    element.name = match[1];
    const std::string rest = match[2];
    for (std::sregex_iterator it(rest.begin(), rest.end(), attribute), end; it != end; ++it) {
        if (!element.attributes.emplace((*it)[1], unescaped((*it)[2])).second) {
            throw std::runtime_error("an attribute twice: <" + tag + ">");
        }
    }
    return element;
}

// Where a text of so many characters begins and ends along its line. Seven tenths of the font's
// size a character are more than the common fonts have on average.
std::pair<double, double> extent_of(const MarkupElement &text, double at) {
    constexpr double k_character = 6.8;
    const double width = k_character * static_cast<double>(n_characters(text.text));
    const std::string &anchor = text.attributes.at("text-anchor");
    const double begin = anchor == "start" ? at : anchor == "end" ? at - width : at - width / 2;
    return {begin, begin + width};
}

bool is_within(std::pair<double, double> extent, double low, double high) {
    return extent.first >= low - 0.5 && extent.second <= high + 0.5;
}

bool is_text_inside(const MarkupElement &text, double width, double height) {
    if (text.attributes.count("transform") == 0) {
        return is_within(extent_of(text, text.number("x")), 0, width) && text.number("y") >= 10 &&
               text.number("y") <= height - 2;
    }
    static const std::regex upright(R"(translate\(([-0-9.]+) ([-0-9.]+)\) rotate\(-90\))");
    std::smatch match;
    const std::string &transform = text.attributes.at("transform");
    if (!std::regex_match(transform, match, upright)) {
        return false;
    }
    // It goes up: what would be to the right of its place is above.
    const double y = std::stod(match[2]);
    const auto [begin, end] = extent_of(text, y);
    return is_within({2 * y - end, 2 * y - begin}, 0, height) && std::stod(match[1]) >= 10 &&
           std::stod(match[1]) <= width;
}

bool is_mark_inside(const MarkupElement &mark, double width, double height) {
    if (mark.name == "circle") {
        return is_within({mark.number("cx"), mark.number("cx")}, 0, width) &&
               is_within({mark.number("cy"), mark.number("cy")}, 0, height);
    }
    if (mark.name != "rect" || mark.attributes.at("width") == "100%") {
        return true;
    }
    return mark.number("width") >= 0 && mark.number("height") >= 0 &&
           is_within({mark.number("x"), mark.number("x") + mark.number("width")}, 0, width) &&
           is_within({mark.number("y"), mark.number("y") + mark.number("height")}, 0, height);
}

}  // namespace

double MarkupElement::number(const std::string &attribute) const {
    return std::stod(attributes.at(attribute));
}

std::vector<MarkupElement> read_markup(const std::string &text) {
    std::vector<MarkupElement> elements;
    std::vector<size_t> open;
    size_t at = text.rfind("<!DOCTYPE html>", 0) == 0 ? text.find('>') + 1 : 0;
    while (at < text.size()) {
        const size_t begin = std::min(text.find('<', at), text.size());
        const std::string between = unescaped(text.substr(at, begin - at));
        if (!open.empty()) {
            elements[open.back()].text += between;
        } else if (between.find_first_not_of(" \n") != std::string::npos) {
            throw std::runtime_error("text outside all elements: " + between);
        }
        if (begin == text.size()) {
            break;
        }
        const size_t end = text.find('>', begin);
        if (end == std::string::npos) {
            throw std::runtime_error("a tag that does not end");
        }
        std::string tag = text.substr(begin + 1, end - begin - 1);
        at = end + 1;
        if (tag.front() == '/') {
            if (open.empty() || "/" + elements[open.back()].name != tag) {
                throw std::runtime_error("<" + tag + "> closes nothing");
            }
            open.pop_back();
            continue;
        }
        const bool is_empty = tag.back() == '/';
        if (is_empty) {
            tag.pop_back();
        }
        elements.push_back(element_of(tag));
        elements.back().parent = open.empty() ? "" : elements[open.back()].name;
        if (!is_empty) {
            open.push_back(elements.size() - 1);
        }
    }
    if (!open.empty()) {
        throw std::runtime_error("<" + elements[open.back()].name + "> is not closed");
    }
    return elements;
}

std::vector<MarkupElement> elements_named(const std::vector<MarkupElement> &elements,
                                          const std::string &name) {
    std::vector<MarkupElement> found;
    std::copy_if(elements.begin(), elements.end(), std::back_inserter(found),
                 [&](const MarkupElement &element) { return element.name == name; });
    return found;
}

testing::AssertionResult is_sound_svg(const std::string &svg) {
    static const std::regex no_number(R"re("[^"]*\b(nan|inf)\b[^"]*")re");
    if (std::regex_search(svg, no_number)) {
        return testing::AssertionFailure() << "a coordinate that is no number";
    }
    const std::vector<MarkupElement> elements = read_markup(svg);
    if (elements.empty() || elements.front().name != "svg") {
        return testing::AssertionFailure() << "no drawing";
    }
    const double width = elements.front().number("width");
    const double height = elements.front().number("height");
    for (const MarkupElement &element : elements) {
        if (element.name == "text" && !is_text_inside(element, width, height)) {
            return testing::AssertionFailure() << "outside the box: " << element.text;
        }
        if (!is_mark_inside(element, width, height)) {
            return testing::AssertionFailure() << "a mark outside the box: " << element.name;
        }
    }
    return testing::AssertionSuccess();
}

}  // namespace orthorank::test
