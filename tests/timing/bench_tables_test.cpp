// Tables of a benchmark from numbers that are given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "base/strings.h"
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

// What stands below a column's name; no cell here has a comma.
std::vector<std::string> csv_column(const std::string &csv, const std::string &name) {
    std::vector<std::string> column;
    size_t at = 0;
    std::istringstream lines(csv);
    for (std::string line; std::getline(lines, line);) {
        const std::vector<std::string> cells = split_at(line, ',');
        if (column.empty()) {
            at = static_cast<size_t>(std::find(cells.begin(), cells.end(), name) - cells.begin());
        }
        column.push_back(at < cells.size() ? cells[at] : "no such column");
    }
    column.erase(column.begin());
    return column;
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
    EXPECT_DOUBLE_EQ(bound_with_link(report.rows[1]).value(), 2.5);
    EXPECT_EQ(bench_row_json(report.rows[1], report)["bound_with_link"], 2.5);
    const std::string csv = bench_csv(report);
    EXPECT_EQ(csv_column(csv, "bound_with_link"), (std::vector<std::string>{"1", "2.5"}));
    EXPECT_EQ(csv_column(csv, "rpc_bytes_sent"), (std::vector<std::string>{"12500000", "2500000"}));
    EXPECT_EQ(csv_column(csv, "rpc_bytes_received"),
              (std::vector<std::string>{"50000000", "10000000"}));
    report.rows[1].time_bound.reset();
    EXPECT_THAT(bench_markdown(report), testing::HasSubstr("| 1.957 |")) << "1.5 / (1 / 1.5 + 0.1)";
}

// A run that sent nothing has no such bound: it would be the bound itself.
TEST(BenchTables, WithoutServersThereIsNoBoundWithTheLink) {
    BenchResult result = result_of(1.0, 0);
    result.facts.traffic.reset();
    const NamedArm arm{"dense", dense_plan(3)};
    BenchReport report;
    report.rows.resize(1);
    report.rows[0].result = report.rows[0].dense = &result;
    report.rows[0].arm = &arm;
    report.rows[0].bound = 1.0;
    EXPECT_TRUE(bench_row_json(report.rows[0], report)["bound_with_link"].is_null());
    EXPECT_EQ(csv_column(bench_csv(report), "bound_with_link"), std::vector<std::string>{""});
}

}  // namespace
}  // namespace orthorank::test
