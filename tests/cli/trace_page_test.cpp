// The page of trace --html.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "support/command_fixture.h"
#include "support/markup.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char *k_text = "the quick brown fox <b> & so on";

class TracePage : public CommandTest {
 protected:
    // The page's hover texts of cells: "token I ..., layer L: ...".
    std::vector<std::string> cells(std::vector<std::string> more) {
        const std::string page = dir_.file("trace.html");
        more.insert(more.begin(), {"trace", "-p", k_text, "--html", page});
        trace_ = run_json(more);
        elements_ = read_markup(read_bytes(page));
        std::vector<std::string> texts;
        for (const MarkupElement &element : elements_) {
            if (element.name == "title" && element.parent == "rect") {
                texts.push_back(element.text);
            }
        }
        return texts;
    }

    json trace_;
    std::vector<MarkupElement> elements_;
};

TEST_F(TracePage, EveryTokenAndLayerHasItsCell) {
    write_bytes(plan_, plan_text(R"({"index": 0, "action": "select", "ratio": 0.4},
        {"index": 1, "action": "select", "ratio": 0.3, "policy": "norm-up"})",
                                 3));
    const std::vector<std::string> texts = cells({"--plan", plan_, "--decode", "3"});
    size_t n_computed = 0;
    size_t n_tokens = trace_["tokens"].size();
    for (const json &layer : trace_["layers"]) {
        n_computed += layer["rows"].size();
    }
    ASSERT_EQ(texts.size(), 2 * n_tokens);
    EXPECT_EQ(elements_named(elements_, "svg").size(), 2u);  // one for each policy
    EXPECT_EQ(elements_named(elements_, "circle").size(), n_computed);
    static const std::regex ranked(R"(rank (\d+) of \d+ \((smallest|largest) first\), (\d+) of)");
    for (const std::string &text : texts) {
        std::smatch match;
        if (std::regex_search(text, match, ranked)) {
            const bool is_among_the_best = std::stoi(match[1]) <= std::stoi(match[3]);
            EXPECT_EQ(is_among_the_best, text.find("computed: score") != std::string::npos) << text;
        } else {
            EXPECT_THAT(text, HasSubstr("the sink comes last in every order"));
        }
    }
    EXPECT_THAT(texts, testing::Contains(HasSubstr("(largest first)")));
    EXPECT_THAT(texts, testing::Contains(HasSubstr("of all so far would be computed")));
}

TEST_F(TracePage, SaysWhatElseDecides) {
    write_bytes(plan_, plan_text(R"({"index": 0, "action": "select", "ratio": 0.4},
        {"index": 1, "action": "select", "policy": "inherit"})",
                                 3));
    std::string text = read_bytes(plan_);
    text.replace(text.find("\"version\": 1"), 12, "\"version\": 3");
    write_bytes(plan_, text);
    const std::vector<std::string> texts =
        cells({"--plan", plan_, "--apply", "prefill", "--keep-last", "2", "--decode", "2"});
    for (const char *rule : {"as layer 0 decided", "the last rows of the prompt, which are kept",
                             "the plan does not apply to this phase"}) {
        EXPECT_THAT(texts, testing::Contains(HasSubstr(rule)));
    }
}

TEST_F(TracePage, OnStandardOutputIsAlone) {
    const ProgramResult result = run({"trace", "-p", k_text, "--plan", plan_, "--html", "-"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(read_markup(result.out).front().name, "html");
}

}  // namespace
}  // namespace orthorank::test
