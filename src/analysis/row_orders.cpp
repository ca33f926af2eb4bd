#include "analysis/row_orders.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "base/statistics.h"
#include "select/policy.h"
#include "select/selection.h"

namespace orthorank {

namespace {

constexpr double k_massive = 100;
constexpr double k_massive_over_median = 1000;
constexpr double k_difference = 1e-4;  // of finite differences, of the row's length

// Has this policy a score that states and attention received give, and differs it from the others
// of the list by more than what happens to keys?
bool has_own_order(const Policy &policy) {
    const bool has_score = policy.score != ScoreKind::query &&
                           policy.score != ScoreKind::attention_output &&
                           policy.score != ScoreKind::probe && policy.score != ScoreKind::inherit;
    return has_score && policy.kv == KvScope::all;
}

std::vector<float> scores_of(const Policy &policy, const RowScores &rows, size_t n) {
    const size_t n_embd = rows.normed.size() / n;
    const auto row = [&](std::span<const float> all, size_t i) {
        return all.subspan(i * n_embd, n_embd);
    };
    std::vector<float> scores;
    for (size_t i = 0; i < n; ++i) {
        double score = 0;
        const std::span<const float> a = row(rows.normed, i);
        switch (policy.score) {
            case ScoreKind::inner:
                score = std::fabs(inner_product(row(rows.normed, 0), a));
                break;
            case ScoreKind::inner_raw:
                score = std::fabs(inner_product(row(rows.hidden, 0), row(rows.hidden, i)));
                break;
            case ScoreKind::cosine:
                score = std::fabs(cosine_of(row(rows.normed, 0), a));
                break;
            case ScoreKind::norm:
                score = std::sqrt(inner_product(a, a));
                break;
            case ScoreKind::attention:
                score = rows.received[i];
                break;
            case ScoreKind::hash:
                score = hash_score(policy.seed, rows.layer, static_cast<int64_t>(i));
                break;
            case ScoreKind::query:
            case ScoreKind::attention_output:
            case ScoreKind::probe:
            case ScoreKind::inherit:
                throw InternalError("a policy without a score of its own here");
        }
        scores.push_back(static_cast<float>(score));
    }
    return scores;
}

std::vector<float> as_floats(std::span<const double> values) {
    return {values.begin(), values.end()};
}

// The part of the rows that both orders choose.
double chosen_by_both(PickOrder order, std::span<const float> scores, PickOrder other_order,
                      std::span<const float> other_scores, double ratio) {
    const std::vector<int32_t> rows = pick_rows(order, scores, 0, ratio);
    const std::vector<int32_t> others = pick_rows(other_order, other_scores, 0, ratio);
    std::vector<int32_t> both;
    std::set_intersection(rows.begin(), rows.end(), others.begin(), others.end(),
                          std::back_inserter(both));
    return static_cast<double>(both.size()) / static_cast<double>(rows.size());
}

std::vector<double> absolute(std::span<const double> values) {
    std::vector<double> result(values.begin(), values.end());
    for (double &value : result) {
        value = std::fabs(value);
    }
    return result;
}

}  // namespace

double inner_product(std::span<const float> a, std::span<const float> b) {
    CHECK(a.size() == b.size());
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    }
    return sum;
}

bool is_massive(double peak, double median_magnitude) {
    return peak > k_massive && peak > k_massive_over_median * median_magnitude;
}

double gradient_error(std::span<const float> sink, std::span<const float> row) {
    const double inner = inner_product(sink, row);
    const double squares = inner_product(row, row);
    const double sink_length = std::sqrt(inner_product(sink, sink));
    const double length = std::sqrt(squares);
    const double cosine = inner / (sink_length * length);
    const double step = k_difference * length;
    // The cosine after a step along one dimension, from the sums before it.
    const auto cosine_at = [&](size_t j, double change) {
        return (inner + change * sink[j]) /
               (sink_length * std::sqrt(squares + 2 * change * row[j] + change * change));
    };
    double difference = 0;
    for (size_t j = 0; j < row.size(); ++j) {
        const double by_equation = (sink[j] / sink_length - cosine * row[j] / length) / length;
        const double by_difference = (cosine_at(j, step) - cosine_at(j, -step)) / (2 * step);
        difference += (by_equation - by_difference) * (by_equation - by_difference);
    }
    return std::sqrt(difference) * length;
}

void compare_equations(std::span<const double> norms, std::span<const double> cosines, double ratio,
                       GradientCheck &check) {
    std::vector<double> gradients, inner;
    for (size_t i = 0; i < norms.size(); ++i) {
        const double sine = std::sqrt(std::max(0.0, 1 - cosines[i] * cosines[i]));
        gradients.push_back(sine / norms[i]);
        inner.push_back(std::fabs(cosines[i]) * norms[i]);  // up to the sink's length
    }
    const std::vector<double> magnitudes = absolute(cosines);
    const auto rest = [](const std::vector<double> &values) {
        return std::span(values).subspan(1);
    };
    // A small cosine means a long gradient.
    check.cosine_gradient = -rank_correlation(rest(magnitudes), rest(gradients));
    check.inner_cosine = rank_correlation(rest(inner), rest(magnitudes));
    check.inner_gradient = -rank_correlation(rest(inner), rest(gradients));
    check.overlap_cosine_gradient = chosen_by_both(PickOrder::smallest, as_floats(magnitudes),
                                                   PickOrder::largest, as_floats(gradients), ratio);
    check.overlap_inner_cosine = chosen_by_both(PickOrder::smallest, as_floats(inner),
                                                PickOrder::smallest, as_floats(magnitudes), ratio);
}

PolicyAgreement policy_agreement(std::string_view name, std::span<const float> scores,
                                 std::span<const double> changes, double ratio) {
    const PickOrder order = policy_from_name(name).order;
    const std::vector<double> importance(scores.begin() + 1, scores.end());
    const double sign = order == PickOrder::smallest ? -1 : 1;
    PolicyAgreement agreement;
    agreement.policy = name;
    agreement.correlation = sign * rank_correlation(importance, changes.subspan(1));
    agreement.overlap =
        chosen_by_both(order, scores, PickOrder::largest, as_floats(changes), ratio);
    return agreement;
}

std::vector<PolicyAgreement> policy_agreements(const RowScores &scores,
                                               std::span<const double> changes, double ratio) {
    std::vector<PolicyAgreement> agreements;
    for (std::string_view name : policy_names()) {
        const Policy policy = policy_from_name(name);
        if (has_own_order(policy)) {
            agreements.push_back(
                policy_agreement(name, scores_of(policy, scores, changes.size()), changes, ratio));
        }
    }
    return agreements;
}

std::vector<std::string_view> engine_scored_policies() {
    std::vector<std::string_view> names;
    for (std::string_view name : policy_names()) {
        const ScoreKind score = policy_from_name(name).score;
        if (score == ScoreKind::query || score == ScoreKind::attention_output) {
            names.push_back(name);
        }
    }
    return names;
}

}  // namespace orthorank
