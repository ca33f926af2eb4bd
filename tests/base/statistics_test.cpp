#include "base/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

const std::vector<double> k_values = {4.0, 1.0, 3.0, 2.0, 10.0};

TEST(Statistics, MeanAndSpread) {
    EXPECT_DOUBLE_EQ(mean(k_values), 4.0);
    const std::vector<float> floats = {1.0F, 2.0F, 6.0F};
    EXPECT_EQ(mean(floats), 3.0);
    // Squares of the deviations: 0 + 9 + 1 + 4 + 36 = 50, over 4.
    EXPECT_DOUBLE_EQ(sample_standard_deviation(k_values), std::sqrt(12.5));
    EXPECT_DOUBLE_EQ(standard_error(k_values), std::sqrt(2.5));
}

TEST(Statistics, SpreadOfOneValueIsUnknown) {
    const std::vector<double> one = {3.0};
    EXPECT_EQ(mean(one), 3.0);
    EXPECT_EQ(median(one), 3.0);
    EXPECT_TRUE(std::isnan(sample_standard_deviation(one)));
    EXPECT_TRUE(std::isnan(standard_error(one)));
}

TEST(Statistics, SpreadOfEqualValuesIsZero) {
    const std::vector<double> values(7, 0.1);
    EXPECT_NEAR(sample_standard_deviation(values), 0.0, 1e-16);
}

TEST(Statistics, SpreadIsExactFarFromZero) {
    const std::vector<double> values = {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16};
    EXPECT_DOUBLE_EQ(sample_standard_deviation(values), std::sqrt(30.0));
}

TEST(Statistics, MedianOfOddAndEven) {
    EXPECT_EQ(median(k_values), 3.0);
    EXPECT_EQ(median(std::vector<double>{4.0, 1.0, 3.0, 2.0}), 2.5);
}

TEST(Statistics, QuantileInterpolates) {
    EXPECT_EQ(quantile(k_values, 0.0), 1.0);
    EXPECT_EQ(quantile(k_values, 1.0), 10.0);
    EXPECT_EQ(quantile(k_values, 0.25), 2.0);
    EXPECT_DOUBLE_EQ(quantile(k_values, 0.9), 7.6);  // index 3.6: 4 + 0.6 * 6
    EXPECT_DOUBLE_EQ(quantile(std::vector<double>{1.0, 2.0}, 0.1), 1.1);
}

TEST(Statistics, GeometricMean) {
    EXPECT_DOUBLE_EQ(geometric_mean(std::vector<double>{2.0, 8.0}), 4.0);
    EXPECT_DOUBLE_EQ(geometric_mean(std::vector<double>{0.5, 2.0}), 1.0);
    EXPECT_THROW(geometric_mean(std::vector<double>{1.0, 0.0}), InternalError);
}

TEST(Statistics, NanSpreadsToTheResult) {
    const std::vector<double> values = {1.0, std::numeric_limits<double>::quiet_NaN(), 2.0};
    EXPECT_TRUE(std::isnan(mean(values)));
    EXPECT_TRUE(std::isnan(median(values)));
    EXPECT_TRUE(std::isnan(sample_standard_deviation(values)));
    EXPECT_TRUE(std::isnan(geometric_mean(values)));
}

TEST(Statistics, NothingOrABadQuantileIsOurBug) {
    const std::vector<double> none;
    EXPECT_THROW(mean(none), InternalError);
    EXPECT_THROW(sample_standard_deviation(none), InternalError);
    EXPECT_THROW(median(none), InternalError);
    EXPECT_THROW(geometric_mean(none), InternalError);
    EXPECT_THROW(quantile(k_values, 1.01), InternalError);
    EXPECT_THROW(quantile(k_values, std::numeric_limits<double>::quiet_NaN()), InternalError);
}

TEST(Statistics, RankCorrelationSeesOrderAlone) {
    const std::vector<double> a = {1, 2, 3, 4, 5};
    EXPECT_DOUBLE_EQ(rank_correlation(a, std::vector<double>{1, 10, 100, 1000, 1e9}), 1);
    EXPECT_DOUBLE_EQ(rank_correlation(a, std::vector<double>{5, 4, 3, 2, -1}), -1);
    // 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24), the formula without ties.
    EXPECT_NEAR(rank_correlation(a, std::vector<double>{2, 1, 3, 5, 4}), 0.8, 1e-12);
    // Ties share ranks: 0.5, 0.5, 2, 3 against 0, 1, 2, 3.
    EXPECT_NEAR(rank_correlation(std::vector<double>{7, 7, 8, 9}, std::vector<double>{1, 2, 3, 4}),
                4.5 / std::sqrt(4.5 * 5), 1e-12);
    EXPECT_TRUE(std::isnan(rank_correlation(a, std::vector<double>(5, 3.0))));
    EXPECT_TRUE(std::isnan(rank_correlation(a, std::vector<double>{1, 2, NAN, 4, 5})));
    EXPECT_TRUE(std::isnan(rank_correlation(std::vector<double>{1}, std::vector<double>{1})));
}

}  // namespace
}  // namespace orthorank
