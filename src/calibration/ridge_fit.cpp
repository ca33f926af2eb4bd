#include "calibration/ridge_fit.h"

#include <Spectra/SymEigsSolver.h>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "calibration/eigen_threads.h"

namespace orthorank {

namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Eigen's matrices are column-major: ggml's [a, b] is one of a rows and b columns.
using Rows = Eigen::Map<const Eigen::MatrixXf>;  // [n_x, n]: a column per row of the text
using Matrix = Eigen::Map<Eigen::MatrixXd>;
using ConstMatrix = Eigen::Map<const Eigen::MatrixXd>;
using Vector = Eigen::Map<Eigen::VectorXd>;
using ConstVector = Eigen::Map<const Eigen::VectorXd>;

// Rows whose products are summed in F32.
constexpr int64_t k_block_rows = 512;

ConstMatrix xx_of(const Moments &m) {
    return {m.xx().data(), m.n_x(), m.n_x()};
}

ConstMatrix xy_of(const Moments &m) {
    return {m.xy().data(), m.n_x(), m.n_y()};
}

ConstVector vector_of(std::span<const double> values) {
    return {values.data(), static_cast<Eigen::Index>(values.size())};
}

template <typename Derived>
std::vector<float> as_floats(const Eigen::MatrixBase<Derived> &values) {
    std::vector<float> floats(static_cast<size_t>(values.size()));
    Eigen::Map<Eigen::MatrixXf>(floats.data(), values.rows(), values.cols()) =
        values.template cast<float>();
    return floats;
}

void check_moments(const Moments &moments, int64_t n_needed, double ridge) {
    if (!(ridge >= 0.0) || !std::isfinite(ridge)) {
        fail(ErrorKind::usage, "a ridge of {} is none: 0 or more", ridge);
    }
    if (moments.n_rows() < n_needed) {
        fail(ErrorKind::limit,
             "{} rows of calibration text, at least {} are needed: give more text",
             moments.n_rows(), n_needed);
    }
    if (!std::isfinite(moments.yy()) || !xx_of(moments).allFinite() ||
        !xy_of(moments).allFinite() || !vector_of(moments.mean_x()).allFinite() ||
        !vector_of(moments.mean_y()).allFinite()) {
        fail(ErrorKind::format, "the hidden states of the calibration text are not all numbers");
    }
}

// (Xc'Xc + ridge * mean diag * I)^-1 Xc'Yc: [n_x, n_y].
MatrixXd ridge_regression(const Moments &moments, double ridge) {
    MatrixXd system = xx_of(moments);
    const double mean_diagonal = system.diagonal().mean();
    if (!(mean_diagonal > 0.0)) {
        return MatrixXd::Zero(moments.n_x(), moments.n_y());  // all rows are one: nothing to learn
    }
    system.diagonal().array() += ridge * mean_diagonal;
    const Eigen::LLT<Eigen::Ref<MatrixXd>> factor(system);
    if (factor.info() != Eigen::Success) {
        fail(ErrorKind::usage,
             "the rows of the calibration text do not determine a regression at ridge {}: give "
             "more text or a larger --ridge",
             ridge);
    }
    return factor.solve(xy_of(moments));
}

// A few of many eigenvectors are found by Lanczos' method, in a small part of the time of all. Empty
// where it did not converge.
MatrixXd lanczos_vectors(const MatrixXd &symmetric, int n_wanted) {
    constexpr int k_max_restarts = 200;
    constexpr double k_tolerance = 1e-12;
    Spectra::DenseSymMatProd<double> product(symmetric);
    Spectra::SymEigsSolver<Spectra::DenseSymMatProd<double>> solver(product, n_wanted,
                                                                    3 * n_wanted);
    solver.init();
    solver.compute(Spectra::SortRule::LargestAlge, k_max_restarts, k_tolerance);
    return solver.info() == Spectra::CompInfo::Successful ? solver.eigenvectors() : MatrixXd();
}

// The eigenvectors of the largest eigenvalues of a matrix without negative ones, the largest first:
// a column each.
MatrixXd first_eigenvectors(const MatrixXd &symmetric, int n_wanted) {
    constexpr int k_few = 8;  // one in so many is few
    if (k_few * n_wanted <= symmetric.rows() && symmetric.trace() > 0.0) {
        const MatrixXd vectors = lanczos_vectors(symmetric, n_wanted);
        if (vectors.cols() == n_wanted) {
            return vectors;
        }
    }
    const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(symmetric);
    CHECK(eigen.info() == Eigen::Success);
    return eigen.eigenvectors().rightCols(n_wanted).rowwise().reverse();  // theirs ascend
}

// The first `rank` right singular vectors of Xc W, from the eigenvectors of W' Xc'Xc W: a column
// each.
MatrixXd right_singular_vectors(const Moments &moments, const MatrixXd &w, int rank) {
    const MatrixXd xx_w = xx_of(moments).selfadjointView<Eigen::Lower>() * w;
    return first_eigenvectors(w.transpose() * xx_w, rank);
}

// The sum over rows of |y - mean - (x - mean) C|^2 for C = down * up.
double centred_rest(const Moments &moments, const MatrixXd &down, const MatrixXd &up) {
    if (down.cols() == 0) {
        return moments.yy();  // Eigen's product with a triangle looks at a first number
    }
    const MatrixXd down_xy = down.transpose() * xy_of(moments);
    const MatrixXd xx_down = xx_of(moments).selfadjointView<Eigen::Lower>() * down;
    const MatrixXd square = down.transpose() * xx_down;
    return moments.yy() - 2.0 * down_xy.cwiseProduct(up).sum() +
           (square * up).cwiseProduct(up).sum();
}

}  // namespace

Moments::Moments(int n_x, int n_y) : n_x_(n_x), n_y_(n_y) {
    CHECK(n_x > 0 && n_y > 0);
    mean_x_.assign(static_cast<size_t>(n_x), 0.0);
    mean_y_.assign(static_cast<size_t>(n_y), 0.0);
    xx_.assign(static_cast<size_t>(n_x) * static_cast<size_t>(n_x), 0.0);
    xy_.assign(static_cast<size_t>(n_x) * static_cast<size_t>(n_y), 0.0);
}

void Moments::add(std::span<const float> x, std::span<const float> y,
                  std::span<const float> weights) {
    const auto n = static_cast<int64_t>(x.size()) / n_x_;
    CHECK(static_cast<int64_t>(x.size()) == n * n_x_ && static_cast<int64_t>(y.size()) == n * n_y_);
    CHECK(weights.empty() || static_cast<int64_t>(weights.size()) == n);
    for (int64_t first = 0; first < n; first += k_block_rows) {
        add_block(x.data() + first * n_x_, y.data() + first * n_y_,
                  weights.empty() ? nullptr : weights.data() + first,
                  std::min(k_block_rows, n - first));
    }
}

// The means are taken away before the products, so that F32 loses nothing to them.
void Moments::add_block(const float *x, const float *y, const float *weights, int64_t n) {
    const EigenThreads threads(static_cast<double>(n) * n_x_ * (n_x_ + n_y_));
    const Rows rows_x(x, n_x_, n);
    const Rows rows_y(y, n_y_, n);
    VectorXd w = VectorXd::Ones(n);
    if (weights != nullptr) {
        w = Eigen::Map<const Eigen::VectorXf>(weights, n).cast<double>();
    }
    Moments block(n_x_, n_y_);
    block.n_ = n;
    block.weight_ = w.sum();
    CHECK(w.minCoeff() >= 0.0);
    if (block.weight_ > 0.0) {
        Vector mean_x(block.mean_x_.data(), n_x_);
        Vector mean_y(block.mean_y_.data(), n_y_);
        mean_x = rows_x.cast<double>() * w / block.weight_;
        mean_y = rows_y.cast<double>() * w / block.weight_;
        const VectorXd root = w.cwiseSqrt();
        const Eigen::MatrixXf centred_x =
            ((rows_x.cast<double>().colwise() - mean_x) * root.asDiagonal()).cast<float>();
        const Eigen::MatrixXf centred_y =
            ((rows_y.cast<double>().colwise() - mean_y) * root.asDiagonal()).cast<float>();
        const Eigen::MatrixXf xx = centred_x * centred_x.transpose();
        const Eigen::MatrixXf xy = centred_x * centred_y.transpose();
        Matrix(block.xx_.data(), n_x_, n_x_) = xx.cast<double>();
        Matrix(block.xy_.data(), n_x_, n_y_) = xy.cast<double>();
        block.yy_ = centred_y.cast<double>().squaredNorm();
    }
    merge(block);
}

// Chan, Golub, LeVeque (1979): the products about the common mean.
void Moments::merge(const Moments &other) {
    CHECK(other.n_x_ == n_x_ && other.n_y_ == n_y_);
    n_ += other.n_;
    if (other.weight_ == 0.0) {
        return;
    }
    const double part = other.weight_ / (weight_ + other.weight_);
    const VectorXd dx = vector_of(other.mean_x_) - vector_of(mean_x_);
    const VectorXd dy = vector_of(other.mean_y_) - vector_of(mean_y_);
    const double factor = weight_ * part;
    Matrix(xx_.data(), n_x_, n_x_) += xx_of(other) + factor * dx * dx.transpose();
    Matrix(xy_.data(), n_x_, n_y_) += xy_of(other) + factor * dx * dy.transpose();
    yy_ += other.yy_ + factor * dy.squaredNorm();
    Vector(mean_x_.data(), n_x_) += part * dx;
    Vector(mean_y_.data(), n_y_) += part * dy;
    weight_ += other.weight_;
}

Correction fit_correction(const Moments &moments, int rank, double ridge) {
    const int n_embd = moments.n_x();
    CHECK(moments.n_y() == n_embd);
    if (rank < 0 || rank > n_embd) {
        fail(ErrorKind::usage, "a correction of rank {}: 0 to {} can be for rows of {} numbers",
             rank, n_embd, n_embd);
    }
    check_moments(moments, int64_t{rank} + 1, ridge);
    const EigenThreads threads(std::pow(n_embd, 3));
    Correction correction;
    correction.n_embd = n_embd;
    correction.rank = rank;
    VectorXd bias = vector_of(moments.mean_y());
    if (rank > 0) {
        MatrixXd down = ridge_regression(moments, ridge);  // W
        MatrixXd up = MatrixXd::Identity(n_embd, n_embd);  // B: [rank, n_embd]
        if (rank < n_embd) {
            const MatrixXd v = right_singular_vectors(moments, down, rank);
            down = (down * v).eval();
            up = v.transpose();
        }
        bias -= up.transpose() * (down.transpose() * vector_of(moments.mean_x()));
        correction.down = as_floats(down);
        correction.up = as_floats(up);
    }
    correction.bias = as_floats(bias);
    return correction;
}

double explained_by(const Correction &correction, const Moments &moments) {
    const int n_embd = correction.n_embd;
    CHECK(moments.n_x() == n_embd && moments.n_y() == n_embd);
    const EigenThreads threads(std::pow(n_embd, 2) * correction.rank);
    const MatrixXd down = Rows(correction.down.data(), n_embd, correction.rank).cast<double>();
    const MatrixXd up = Rows(correction.up.data(), correction.rank, n_embd).cast<double>();
    const VectorXd bias = Rows(correction.bias.data(), n_embd, 1).cast<double>();
    const double n = moments.weight();
    const ConstVector mean_y = vector_of(moments.mean_y());
    const VectorXd mean_rest =
        mean_y - bias - up.transpose() * (down.transpose() * vector_of(moments.mean_x()));
    const double all = moments.yy() + n * mean_y.squaredNorm();
    const double rest = centred_rest(moments, down, up) + n * mean_rest.squaredNorm();
    return all > 0.0 ? 1.0 - rest / all : std::numeric_limits<double>::quiet_NaN();
}

ProbeFit fit_probe(const Moments &moments, double ridge) {
    CHECK(moments.n_y() == 1);
    check_moments(moments, 2, ridge);
    const EigenThreads threads(std::pow(moments.n_x(), 3) / 3);
    const MatrixXd w = ridge_regression(moments, ridge);
    ProbeFit fit;
    fit.probe.weight = as_floats(w);
    fit.r_squared = moments.yy() > 0.0
                        ? 1.0 - centred_rest(moments, w, MatrixXd::Identity(1, 1)) / moments.yy()
                        : std::numeric_limits<double>::quiet_NaN();
    return fit;
}

}  // namespace orthorank
