// Closed-form fits on calibration rows: the low-rank correction of a layer (ridge regression, then
// reduced rank) and the ridge regression of a single number that makes a probe. Both need moments
// only, which are gathered block by block, so rows are never kept. The method: issue 7 and
// docs/layer-selection.md; a linear map in place of removed blocks is ReplaceMe's (arXiv
// 2505.02819). Plain values; one thread each. Throws Error{limit} for too few rows, Error{format}
// for rows that are not numbers, Error{usage} for options that cannot be.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "select/correction.h"

namespace orthorank {

constexpr double k_default_ridge = 0.01;

// What a linear regression of rows y on rows x needs: counts, (weighted) means, and the products of
// what is left without the means. Products of blocks in F32, sums in double.
class Moments {
 public:
    Moments(int n_x, int n_y);

    // More rows: x [n_x, n], y [n_y, n] in ggml order, n the same for both. weights: [n], none
    // below zero, how much each counts; empty: 1 each.
    void add(std::span<const float> x, std::span<const float> y,
             std::span<const float> weights = {});
    // Everything that another one of the same shape has seen.
    void merge(const Moments &other);

    int n_x() const { return n_x_; }
    int n_y() const { return n_y_; }
    int64_t n_rows() const { return n_; }
    // The sum of the rows' weights.
    double weight() const { return weight_; }
    std::span<const double> mean_x() const { return mean_x_; }
    std::span<const double> mean_y() const { return mean_y_; }
    // sum over rows of weight (x - mean)(x - mean)': [n_x, n_x], symmetric.
    std::span<const double> xx() const { return xx_; }
    // sum over rows of weight (x - mean)(y - mean)': [n_x, n_y] in ggml order, one row of n_x per
    // output.
    std::span<const double> xy() const { return xy_; }
    // sum over rows of weight |y - mean|^2.
    double yy() const { return yy_; }

 private:
    void add_block(const float *x, const float *y, const float *weights, int64_t n);

    int n_x_;
    int n_y_;
    int64_t n_ = 0;
    double weight_ = 0;
    std::vector<double> mean_x_;
    std::vector<double> mean_y_;
    std::vector<double> xx_;
    std::vector<double> xy_;
    double yy_ = 0;
};

// Of rows x = a (after the attention norm) and y = D (what is to be added to the row): with means
// m_a, m_D and centred rows Xc, Dc,
//     W = (Xc'Xc + ridge * mean(diag(Xc'Xc)) * I)^-1 Xc'Dc,
//     V = the first `rank` right singular vectors of Xc W,  A = W V,  B' = V,
//     bias = m_D - B (A' m_a).
// rank 0: the mean alone; rank n_embd: W itself. 0 <= rank <= n_embd, ridge >= 0, more rows than
// rank.
Correction fit_correction(const Moments &moments, int rank, double ridge);

// The part of sum |D|^2 over the moments' rows that the correction makes good: 1 - the rest's. At
// most 1; NaN where D is zero.
double explained_by(const Correction &correction, const Moments &moments);

// Of rows x = a and one number y = g per row, what computing the row gains: weight = w of the ridge
// regression of g on a.
struct ProbeFit {
    Probe probe;
    double r_squared = 0;  // the part of g's variance that <w, a> explains; NaN where g is constant
};
ProbeFit fit_probe(const Moments &moments, double ridge);

}  // namespace orthorank
