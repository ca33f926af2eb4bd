// Plots of a benchmark from numbers that are given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "timing/bench_report.h"

namespace orthorank::test {
namespace {

using testing::HasSubstr;
using testing::Not;

// Rows of one arm in a study of lengths.
class BenchPlots : public testing::Test {
 protected:
    BenchPlots() { report_.axis = ScaleAxis::tokens; }

    void add(const BenchShape &shape, double seconds) {
        BenchResult &result = results_.emplace_back();
        result.shape = shape;
        result.seconds = {seconds};
        result.facts.memory.emplace().kv_bytes = int64_t{shape.n_tokens} << 20;
        BenchRow &row = report_.rows.emplace_back();
        row.result = &result;
        row.arm = &arm_;
    }

    const NamedArm arm_{"dense", dense_plan(3)};
    std::deque<BenchResult> results_;
    BenchReport report_;
};

// They were one line, which went up and down between both.
TEST_F(BenchPlots, TimesToTheFirstTokenAreALineOfTheirOwn) {
    for (const int n_tokens : {100, 200}) {
        add({Phase::prefill, n_tokens}, 1.0 * n_tokens);
    }
    EXPECT_THAT(bench_scale_svg(report_), HasSubstr(">dense</text>"));
    for (const int n_tokens : {100, 200}) {
        add({Phase::prefill, n_tokens, 0, 1, /*takes_token=*/true}, 1.5 * n_tokens);
    }
    for (const std::string &svg : {bench_scale_svg(report_), bench_memory_svg(report_)}) {
        EXPECT_THAT(svg, HasSubstr(">prefill, dense</text>"));
        EXPECT_THAT(svg, HasSubstr(">first token, dense</text>"));
        EXPECT_THAT(svg, Not(HasSubstr(">dense</text>")));
    }
}

}  // namespace
}  // namespace orthorank::test
