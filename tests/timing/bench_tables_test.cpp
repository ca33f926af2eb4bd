// Tables of a benchmark from numbers that are given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "timing/bench_report.h"

namespace orthorank::test {
namespace {

BenchResult result_of(double seconds, int64_t n_link_bytes) {
    BenchResult result;
    result.shape = {Phase::decode, 10, 5};
    result.seconds = {seconds};
    result.facts.memory.emplace();
    result.facts.traffic = RpcTraffic{n_link_bytes / 5, n_link_bytes - n_link_bytes / 5};
    return result;
}

// Half a second of a 1 Gbit/s link beside one of work; the plan halves the work, and sends a fifth.
TEST(BenchTables, TheBoundWithTheLinkIsNotTheBoundOfTheWork) {
    const BenchResult dense = result_of(1.0, 62'500'000);
    const BenchResult plan = result_of(0.7, 12'500'000);
    const NamedArm dense_arm{"dense", dense_plan(3)};
    const NamedArm plan_arm{"half", dense_plan(3)};
    BenchReport report;
    report.shares = {{"RPC0", "a server", {0, 1, 2}, 100}};
    report.rows.resize(2);
    report.rows[0].result = report.rows[0].dense = report.rows[1].dense = &dense;
    report.rows[1].result = &plan;
    report.rows[0].arm = &dense_arm;
    report.rows[1].arm = &plan_arm;
    report.rows[0].bound = 1.0;
    report.rows[1].bound = 1.5;
    report.rows[1].time_bound = 2.0;
    const std::string text = bench_markdown(report);
    const std::string links = text.substr(text.find("bound with it"));
    EXPECT_THAT(links, testing::HasSubstr("| 1.000 |")) << "(1 + 0.5) / (1 + 0.5)";
    EXPECT_THAT(links, testing::HasSubstr("| 2.500 |")) << "(1 + 0.5) / (1 / 2 + 0.1)";
    report.rows[1].time_bound.reset();
    EXPECT_THAT(bench_markdown(report), testing::HasSubstr("| 1.957 |")) << "1.5 / (1 / 1.5 + 0.1)";
}

}  // namespace
}  // namespace orthorank::test
