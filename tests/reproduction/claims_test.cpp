#include "reproduction/claims.h"

#include <gtest/gtest.h>

#include <cmath>

#include "reproduction/paper_values.h"

namespace orthorank {
namespace {

PlanFindings with_losses(std::vector<double> losses) {
    PlanFindings findings;
    findings.window_nlls = std::move(losses);
    return findings;
}

Outcome outcome_of(const std::vector<double> &differences) {
    return tested_claim("", estimate_mean(differences), "").outcome;
}

TEST(Claims, AreDecidedByTheNoiseOfFewValues) {
    // Mean 1, standard error 0.1: 10 of them, where the limit of two values is 12.7, of three 4.3.
    EXPECT_EQ(outcome_of({0.9, 1.1}), Outcome::within_noise);
    EXPECT_EQ(outcome_of({0.99, 1.01}), Outcome::holds);
    EXPECT_EQ(outcome_of({-0.99, -1.01}), Outcome::does_not_hold);
    EXPECT_EQ(outcome_of({0.9, 1.0, 1.1}), Outcome::holds);
    EXPECT_EQ(outcome_of({0.0, 0.0, 0.0}), Outcome::within_noise);
    EXPECT_EQ(outcome_of({1.0}), Outcome::not_tested);
    EXPECT_EQ(tested_claim("", {}, "").outcome, Outcome::not_tested);
}

// Student's t, 0.975, from tables.
TEST(Claims, NoiseLimits) {
    EXPECT_NEAR(noise_limit(2), 12.706, 1e-3);
    EXPECT_NEAR(noise_limit(6), 2.571, 1e-3);
    EXPECT_NEAR(noise_limit(11), 2.228, 1e-3);
    EXPECT_NEAR(noise_limit(21), 2.086, 0.01);
    EXPECT_NEAR(noise_limit(31), 2.042, 0.01);
    EXPECT_NEAR(noise_limit(1001), 1.962, 1e-3);
}

TEST(Claims, DifferencesArePaired) {
    const auto difference = less_loss(with_losses({1.0, 5.0, 9.0}), with_losses({1.5, 5.4, 9.6}));
    ASSERT_TRUE(difference);
    EXPECT_NEAR(difference->mean, 0.5, 1e-12);
    EXPECT_NEAR(difference->standard_error, 0.1 / std::sqrt(3.0), 1e-12);
    EXPECT_FALSE(less_loss(with_losses({}), with_losses({})));
    EXPECT_FALSE(less_loss(with_losses({1.0}), with_losses({1.0, 2.0})));
}

TEST(Claims, TasksCountAlike) {
    const TaskValues better = {{"a", {1, 1, 1, 1}}, {"b", {0, 1}}};
    const TaskValues worse = {{"a", {0, 1, 0, 1}}, {"b", {0, 0}}};
    const auto difference = higher_mean(better, worse);
    ASSERT_TRUE(difference);
    EXPECT_NEAR(difference->mean, 0.5, 1e-12);
    EXPECT_EQ(difference->n, 6u);
    EXPECT_FALSE(higher_mean(better, {}));
    EXPECT_FALSE(higher_value(better, worse, "c"));
}

TEST(Claims, SpeedUpsAreTakenWithinARepetition) {
    const SpeedPair twice = {{2, 4, 8}, {1, 2, 4}};
    const SpeedPair same = {{2, 4, 8}, {2, 4, 8}};
    EXPECT_NEAR(*speed_up_of(twice), 2.0, 1e-12);
    EXPECT_NEAR(faster(twice, same)->mean, std::log(2.0), 1e-12);
    EXPECT_NEAR(faster(twice, same)->standard_error, 0.0, 1e-12);
    EXPECT_FALSE(faster(twice, {}));
    EXPECT_FALSE(speed_up_of({}));
}

// A table whose rows do not fit its header would shift what the paper prints.
TEST(PaperValues, RowsFitTheirHeaders) {
    size_t n_tables = 0;
    for (const char *entry :
         {"table1", "table2", "table3", "table4", "table5", "table6", "table9"}) {
        for (const PaperValues &values : paper_values(entry)) {
            ++n_tables;
            for (const auto &row : values.table.rows) {
                EXPECT_EQ(row.size(), values.table.header.size()) << values.caption << row.front();
            }
        }
    }
    EXPECT_EQ(n_tables, 8u);
    EXPECT_TRUE(paper_values("fig2").empty());
}

// The means that the paper prints in Table 8 are those of its sixteen scores.
TEST(PaperValues, LongBenchMeansAreThoseOfTheScores) {
    const std::vector<PaperValues> values = paper_values("table3");
    for (const auto &row : values.front().table.rows) {
        double sum = 0;
        for (size_t i = 3; i < 19; ++i) {
            sum += std::stod(row[i]);
        }
        EXPECT_NEAR(sum / 16, std::stod(row.back()), 0.0151) << row[0] << row[1] << row[2];
    }
}

}  // namespace
}  // namespace orthorank
