#include "support/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace orthorank::test {

using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

double nmse(std::span<const float> found, std::span<const float> expected) {
    double error = 0;
    double power = 0;
    for (size_t i = 0; i < expected.size() && i < found.size(); ++i) {
        const double difference = double{found[i]} - double{expected[i]};
        error += difference * difference;
        power += double{expected[i]} * double{expected[i]};
    }
    const double ratio = error == 0 ? 0 : error / power;
    const bool is_bad = found.size() != expected.size() || found.empty() || !std::isfinite(ratio);
    return is_bad ? std::numeric_limits<double>::infinity() : ratio;
}

double relative_distance(std::span<const float> found, std::span<const float> expected) {
    return std::sqrt(nmse(found, expected));
}

AssertionResult same_bits(std::span<const float> found, std::span<const float> expected) {
    if (found.size() != expected.size() || found.empty()) {
        return AssertionFailure() << found.size() << " values, expected " << expected.size();
    }
    for (size_t i = 0; i < found.size(); ++i) {
        if (std::memcmp(&found[i], &expected[i], sizeof(float)) != 0) {
            return AssertionFailure()
                   << "value " << i << " of " << found.size() << ": " << found[i] << ", expected "
                   << expected[i] << " (nmse " << nmse(found, expected) << ")";
        }
    }
    return AssertionSuccess();
}

AssertionResult nmse_below(double limit, std::span<const float> found,
                           std::span<const float> expected) {
    const double value = nmse(found, expected);
    if (value <= limit) {
        return AssertionSuccess();
    }
    return AssertionFailure() << "nmse " << value << " above " << limit << " (" << found.size()
                              << " values, expected " << expected.size() << ")";
}

AssertionResult rows_close(std::span<const float> found, std::span<const float> expected, size_t n,
                           double tolerance) {
    if (found.size() != expected.size() || found.empty() || found.size() % n != 0) {
        return AssertionFailure() << found.size() << " values, expected " << expected.size();
    }
    for (size_t first = 0; first < found.size(); first += n) {
        const double distance =
            relative_distance(found.subspan(first, n), expected.subspan(first, n));
        if (!(distance <= tolerance)) {
            return AssertionFailure() << "row " << first / n << " of " << found.size() / n
                                      << ": relative distance " << distance;
        }
    }
    return AssertionSuccess();
}

int32_t argmax(std::span<const float> values) {
    return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

AssertionResult same_argmax(std::span<const float> found, std::span<const float> expected) {
    if (found.size() != expected.size() || found.empty()) {
        return AssertionFailure() << found.size() << " values, expected " << expected.size();
    }
    const auto a = static_cast<size_t>(argmax(found));
    const auto b = static_cast<size_t>(argmax(expected));
    const bool is_near_tie =
        expected[b] - expected[a] < k_logit_tie && found[a] - found[b] < k_logit_tie;
    if (a == b || is_near_tie) {
        return AssertionSuccess();
    }
    return AssertionFailure() << "token " << a << " (" << found[a] << " over " << found[b]
                              << "), expected " << b << " (" << expected[b] << " over "
                              << expected[a] << ")";
}

namespace {

bool has_tie(const LayerRecord &record, size_t i) {
    for (size_t j = 0; j < record.scores.size(); ++j) {
        const double a = record.scores[i];
        const double b = record.scores[j];
        if (record.chosen[i] != record.chosen[j] &&
            std::fabs(a - b) <= k_score_tie * std::max(std::fabs(a), std::fabs(b))) {
            return true;
        }
    }
    return false;
}

bool same_score(float found, float expected, double tolerance, double scale) {
    if (std::isnan(found) || std::isnan(expected) || std::isinf(expected)) {
        return (std::isnan(found) && std::isnan(expected)) || found == expected;
    }
    return std::fabs(double{found} - double{expected}) <= tolerance * scale;
}

}  // namespace

AssertionResult same_record(const LayerRecord &found, const LayerRecord &expected,
                            double score_tolerance) {
    if (found.scores.size() != expected.scores.size() ||
        found.chosen.size() != expected.chosen.size()) {
        return AssertionFailure() << found.scores.size() << " scores and " << found.chosen.size()
                                  << " choices, expected " << expected.scores.size() << " and "
                                  << expected.chosen.size();
    }
    // A small inner product of large vectors is as uncertain as a large one: the scale is that of
    // the layer's scores.
    double scale = 0;
    size_t n = 0;
    for (const float score : expected.scores) {
        if (std::isfinite(score)) {
            scale += double{score} * double{score};
            ++n;
        }
    }
    scale = std::sqrt(scale / static_cast<double>(std::max<size_t>(1, n)));
    for (size_t i = 0; i < found.scores.size(); ++i) {
        if (!same_score(found.scores[i], expected.scores[i], score_tolerance, scale)) {
            return AssertionFailure() << "score " << i << ": " << found.scores[i] << ", expected "
                                      << expected.scores[i];
        }
        if (found.chosen[i] != expected.chosen[i] && !has_tie(expected, i)) {
            return AssertionFailure() << "position " << i << " chosen " << int{found.chosen[i]}
                                      << ", expected " << int{expected.chosen[i]};
        }
    }
    return AssertionSuccess();
}

}  // namespace orthorank::test
