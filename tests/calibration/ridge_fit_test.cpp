// The closed-form fits: against cases worked out by hand, against a singular value decomposition of
// all rows at once, and by what a ridge regression must satisfy.
#include "calibration/ridge_fit.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>
#include <limits>
#include <random>

#include "support/errors.h"

namespace orthorank {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using test::expect_error;

// Rows as columns, as in ggml.
using Rows = Eigen::MatrixXf;

std::span<const float> span_of(const Rows &rows) {
    return {rows.data(), static_cast<size_t>(rows.size())};
}

Moments moments_of(const Rows &x, const Rows &y) {
    Moments moments(static_cast<int>(x.rows()), static_cast<int>(y.rows()));
    moments.add(span_of(x), span_of(y));
    return moments;
}

MatrixXd down_of(const Correction &c) {
    return Eigen::Map<const Rows>(c.down.data(), c.n_embd, c.rank).cast<double>();
}

MatrixXd up_of(const Correction &c) {
    return Eigen::Map<const Rows>(c.up.data(), c.rank, c.n_embd).cast<double>();
}

VectorXd bias_of(const Correction &c) {
    return Eigen::Map<const Rows>(c.bias.data(), c.n_embd, 1).cast<double>();
}

MatrixXd centred(const Rows &rows) {
    const MatrixXd values = rows.cast<double>();
    return values.colwise() - values.rowwise().mean().eval();
}

// Four rows with Xc'Xc = 2 I about (5, 7), and D = (1, 2) + (3, 0), -(3, 0), (0, 6), -(0, 6).
struct ByHand {
    Rows x{{6, 4, 5, 5}, {7, 7, 8, 6}};
    Rows y{{4, -2, 1, 1}, {2, 2, 8, -4}};
};

TEST(Moments, ByHand) {
    const ByHand rows;
    const Moments moments = moments_of(rows.x, rows.y);
    EXPECT_EQ(moments.n_rows(), 4);
    EXPECT_EQ(moments.mean_x()[0], 5);
    EXPECT_EQ(moments.mean_x()[1], 7);
    EXPECT_EQ(moments.mean_y()[0], 1);
    EXPECT_EQ(moments.mean_y()[1], 2);
    const std::vector<double> xx(moments.xx().begin(), moments.xx().end());
    const std::vector<double> xy(moments.xy().begin(), moments.xy().end());
    EXPECT_EQ(xx, (std::vector<double>{2, 0, 0, 2}));
    EXPECT_EQ(xy, (std::vector<double>{6, 0, 0, 12}));
    EXPECT_EQ(moments.yy(), 2 * 9 + 2 * 36);
}

// Ridge 0.5 times the mean diagonal 2 is 1: W = diag(6, 12) / 3 = diag(2, 4).
TEST(FitCorrection, ByHand) {
    const ByHand rows;
    const Moments moments = moments_of(rows.x, rows.y);
    const Correction full = fit_correction(moments, 2, 0.5);
    const MatrixXd w = down_of(full) * up_of(full);
    EXPECT_TRUE(w.isApprox(MatrixXd{{2, 0}, {0, 4}}, 1e-6)) << w;
    EXPECT_TRUE(bias_of(full).isApprox(VectorXd{{1.0 - 10.0, 2.0 - 28.0}}, 1e-6));
    const Correction one = fit_correction(moments, 1, 0.5);
    const MatrixXd ab = down_of(one) * up_of(one);
    EXPECT_TRUE(ab.isApprox(MatrixXd{{0, 0}, {0, 4}}, 1e-6)) << ab;
    EXPECT_TRUE(bias_of(one).isApprox(VectorXd{{1.0, 2.0 - 28.0}}, 1e-6));
    const Correction mean = fit_correction(moments, 0, 0.5);
    EXPECT_EQ(mean.rank, 0);
    EXPECT_TRUE(mean.down.empty() && mean.up.empty());
    EXPECT_EQ(mean.bias, (std::vector<float>{1, 2}));
    // |D|^2 is 16 + 4 + 1 + 1 + 4 + 4 + 64 + 16 = 110. What is left: 2 + 8 with W, 2 9 + 8 with
    // rank 1, 90 with the mean.
    EXPECT_NEAR(explained_by(full, moments), 1 - 10.0 / 110, 1e-6);
    EXPECT_NEAR(explained_by(one, moments), 1 - 26.0 / 110, 1e-6);
    EXPECT_NEAR(explained_by(mean, moments), 1 - 90.0 / 110, 1e-6);
}

// g = 3 - 2 x_0 + noise across x_1: w = (-4, 0) / (2 + 2 ridge) with the rows above.
TEST(FitProbe, ByHand) {
    const ByHand rows;
    const Rows g{{-9, -5, -7, -7}};
    const ProbeFit exact = fit_probe(moments_of(rows.x, g), 0.0);
    EXPECT_NEAR(exact.probe.weight[0], -2, 1e-6);
    EXPECT_NEAR(exact.probe.weight[1], 0, 1e-6);
    EXPECT_NEAR(exact.r_squared, 1, 1e-6);
    const ProbeFit ridged = fit_probe(moments_of(rows.x, g), 1.0);
    EXPECT_NEAR(ridged.probe.weight[0], -1, 1e-6);
    EXPECT_NEAR(ridged.r_squared, 0.75, 1e-6);  // half of each deviation is left: 1 - 1/4
    EXPECT_TRUE(std::isnan(fit_probe(moments_of(rows.x, Rows{{1, 1, 1, 1}}), 1.0).r_squared));
}

// Correlated rows with means far from zero.
class RandomRows : public testing::Test {
 protected:
    static constexpr int k_n_embd = 12;
    static constexpr int k_n_rows = 1500;  // several blocks

    RandomRows() {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        const auto draw = [&](int rows, int columns) {
            return Rows(Rows::NullaryExpr(rows, columns, [&] { return normal(random); }));
        };
        x_ = draw(k_n_embd, k_n_embd) * draw(k_n_embd, k_n_rows);
        y_ = 0.3f * draw(k_n_embd, k_n_embd) * x_ + draw(k_n_embd, k_n_rows);
        x_.colwise() += 20 * draw(k_n_embd, 1).col(0);
        y_.colwise() += 20 * draw(k_n_embd, 1).col(0);
    }

    Rows x_;
    Rows y_;
};

TEST_F(RandomRows, MomentsAreThoseOfAllRowsAtOnce) {
    const Moments moments = moments_of(x_, y_);
    const MatrixXd xc = centred(x_);
    const MatrixXd yc = centred(y_);
    const Eigen::Map<const MatrixXd> xx(moments.xx().data(), k_n_embd, k_n_embd);
    const Eigen::Map<const MatrixXd> xy(moments.xy().data(), k_n_embd, k_n_embd);
    EXPECT_TRUE(xx.isApprox(xc * xc.transpose(), 1e-6));
    EXPECT_TRUE(xy.isApprox(xc * yc.transpose(), 1e-6));
    EXPECT_NEAR(moments.yy(), yc.squaredNorm(), 1e-6 * moments.yy());
}

TEST_F(RandomRows, MergedPartsAreTheWhole) {
    const Moments whole = moments_of(x_, y_);
    Moments merged(k_n_embd, k_n_embd);
    merged.merge(moments_of(x_.leftCols(100), y_.leftCols(100)));
    merged.merge(Moments(k_n_embd, k_n_embd));
    merged.merge(moments_of(x_.rightCols(k_n_rows - 100), y_.rightCols(k_n_rows - 100)));
    EXPECT_EQ(merged.n_rows(), whole.n_rows());
    for (size_t i = 0; i < whole.xx().size(); ++i) {
        EXPECT_NEAR(merged.xx()[i], whole.xx()[i], 1e-6 * whole.xx()[0]);
        EXPECT_NEAR(merged.xy()[i], whole.xy()[i], 1e-6 * whole.xx()[0]);
    }
    EXPECT_NEAR(merged.mean_x()[3], whole.mean_x()[3], 1e-9);
    EXPECT_NEAR(merged.mean_y()[3], whole.mean_y()[3], 1e-9);
    EXPECT_NEAR(merged.yy(), whole.yy(), 1e-6 * whole.yy());
}

// Half the gradient of |Dc - Xc W|^2 + lambda |W|^2 is zero at W.
TEST_F(RandomRows, FullRankIsTheRidgeRegression) {
    const double ridge = 0.01;
    const Correction full = fit_correction(moments_of(x_, y_), k_n_embd, ridge);
    const MatrixXd w = down_of(full) * up_of(full);
    const MatrixXd xc = centred(x_);
    const double lambda = ridge * (xc * xc.transpose()).diagonal().mean();
    const MatrixXd xy = xc * centred(y_).transpose();
    const MatrixXd gradient = xc * (xc.transpose() * w) + lambda * w - xy;
    EXPECT_LT(gradient.norm(), 1e-6 * xy.norm());
}

TEST_F(RandomRows, ReducedRankIsTheTruncatedDecomposition) {
    const Moments moments = moments_of(x_, y_);
    const Correction full = fit_correction(moments, k_n_embd, 0.01);
    const MatrixXd w = down_of(full) * up_of(full);
    const Eigen::JacobiSVD<MatrixXd> svd(centred(x_).transpose() * w, Eigen::ComputeThinV);
    double explained = explained_by(fit_correction(moments, 0, 0.01), moments);
    for (int rank = 1; rank < k_n_embd; ++rank) {
        const Correction low = fit_correction(moments, rank, 0.01);
        const MatrixXd b = up_of(low);
        EXPECT_TRUE((b * b.transpose()).isIdentity(1e-6));
        const MatrixXd v = svd.matrixV().leftCols(rank);
        const MatrixXd ab = down_of(low) * b;
        EXPECT_TRUE(ab.isApprox(w * v * v.transpose(), 1e-5)) << rank;
        EXPECT_GT(explained_by(low, moments), explained);
        explained = explained_by(low, moments);
    }
    EXPECT_GT(explained_by(full, moments), explained);
}

// A few directions of many are found in another way than all of them.
TEST(FitCorrection, FewDirectionsOfManyAreTheTruncatedDecomposition) {
    constexpr int k_width = 96;
    constexpr int k_few = 6;
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    const auto draw = [&](int rows, int columns) {
        return Rows(Rows::NullaryExpr(rows, columns, [&] { return normal(random); }));
    };
    const Rows x = draw(k_width, k_width) * draw(k_width, 800);
    const Rows of_two = draw(k_width, 2) * draw(2, k_width) * x;  // four directions are nothing
    for (const Rows &y :
         {Rows(draw(k_width, k_width) * x), of_two, Rows(Rows::Zero(k_width, 800))}) {
        const Moments moments = moments_of(x, y);
        const Correction full = fit_correction(moments, k_width, 0.01);
        const MatrixXd w = down_of(full) * up_of(full);
        const Eigen::JacobiSVD<MatrixXd> svd(centred(x).transpose() * w, Eigen::ComputeThinV);
        const MatrixXd v = svd.matrixV().leftCols(k_few);
        const Correction low = fit_correction(moments, k_few, 0.01);
        const MatrixXd b = up_of(low);
        EXPECT_TRUE((b * b.transpose()).isIdentity(1e-5));
        const MatrixXd expected = w * v * v.transpose();
        EXPECT_LE((down_of(low) * b - expected).norm(), 1e-4 * (w.norm() + 1e-12));
    }
}

// What is explained, from the moments, is what is explained row by row.
TEST_F(RandomRows, ExplainedIsThatOfTheRows) {
    const Moments moments = moments_of(x_, y_);
    const Correction low = fit_correction(moments, 3, 0.01);
    const MatrixXd map = down_of(low) * up_of(low);
    const MatrixXd y = y_.cast<double>();
    const MatrixXd rest = (y - map.transpose() * x_.cast<double>()).colwise() - bias_of(low);
    EXPECT_NEAR(explained_by(low, moments), 1 - rest.squaredNorm() / y.squaredNorm(), 1e-6);
}

TEST_F(RandomRows, WhatCannotBeIsRefused) {
    const Moments moments = moments_of(x_.leftCols(5), y_.leftCols(5));
    expect_error(ErrorKind::limit, "5 rows of calibration text, at least 6",
                 [&] { fit_correction(moments, 5, 0.01); });
    expect_error(ErrorKind::limit, "0 rows",
                 [] { fit_correction(Moments(k_n_embd, k_n_embd), 0, 0.01); });
    expect_error(ErrorKind::usage, "a correction of rank 13: 0 to 12",
                 [&] { fit_correction(moments, 13, 0.01); });
    expect_error(ErrorKind::usage, "0 to 12", [&] { fit_correction(moments, -1, 0.01); });
    for (double ridge : {-0.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
        expect_error(ErrorKind::usage, "0 or more", [&] { fit_correction(moments, 1, ridge); });
    }
    expect_error(ErrorKind::limit, "1 rows",
                 [&] { fit_probe(moments_of(x_.leftCols(1), y_.topLeftCorner(1, 1)), 0.01); });
    // Five rows in twelve dimensions.
    expect_error(ErrorKind::usage, "larger --ridge",
                 [&] { fit_probe(moments_of(x_.leftCols(5), y_.topLeftCorner(1, 5)), 0.0); });
    for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        Rows x = x_;
        x(3, 700) = bad;
        expect_error(ErrorKind::format, "not all numbers",
                     [&] { fit_correction(moments_of(x, y_), 0, 0.01); });
    }
}

}  // namespace
}  // namespace orthorank
