#include "reproduction/claims.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/statistics.h"

namespace orthorank {

namespace {

std::vector<double> log_speed_ups(const SpeedPair &speed) {
    std::vector<double> logs;
    for (size_t i = 0; i < speed.seconds.size(); ++i) {
        logs.push_back(std::log(speed.dense_seconds[i] / speed.seconds[i]));
    }
    return logs;
}

Outcome outcome_of(const Estimate &difference) {
    const double limit = noise_limit(difference.n) * difference.standard_error;
    if (std::fabs(difference.mean) <= limit) {
        return Outcome::within_noise;
    }
    return difference.mean > 0 ? Outcome::holds : Outcome::does_not_hold;
}

}  // namespace

double noise_limit(size_t n) {
    // Of 1, 2, ... degrees of freedom; beyond them the expansion in 1 / df (Abramowitz and Stegun,
    // 26.7.5).
    static constexpr std::array<double, 10> k_few = {12.706, 4.303, 3.182, 2.776, 2.571,
                                                     2.447,  2.365, 2.306, 2.262, 2.228};
    constexpr double k_normal = 1.95996;
    const size_t df = std::max<size_t>(n, 2) - 1;
    if (df <= k_few.size()) {
        return k_few[df - 1];
    }
    return k_normal + (k_normal * k_normal * k_normal + k_normal) / (4.0 * static_cast<double>(df));
}

const char *outcome_name(Outcome outcome) {
    switch (outcome) {
        case Outcome::holds:
            return "holds";
        case Outcome::does_not_hold:
            return "does not hold";
        case Outcome::within_noise:
            return "within the noise";
        case Outcome::not_tested:
            break;
    }
    return "not tested";
}

Claim tested_claim(std::string text, const std::optional<Estimate> &difference, std::string unit) {
    Claim claim;
    claim.text = std::move(text);
    claim.unit = std::move(unit);
    claim.difference = difference;
    if (!difference) {
        claim.reason = "not measured here";
    } else if (!std::isfinite(difference->standard_error)) {
        claim.reason = "one value has no standard error";
    } else {
        claim.outcome = outcome_of(*difference);
    }
    return claim;
}

std::optional<Estimate> less_loss(const PlanFindings &better, const PlanFindings &worse) {
    if (better.window_nlls.empty() || worse.window_nlls.size() != better.window_nlls.size()) {
        return {};
    }
    return estimate_paired_difference(worse.window_nlls, better.window_nlls);
}

std::optional<Estimate> higher_mean(const TaskValues &better, const TaskValues &worse) {
    std::vector<Estimate> differences;
    for (const auto &[task, values] : better) {
        if (const std::optional<Estimate> one = higher_value(better, worse, task)) {
            differences.push_back(*one);
        }
    }
    return differences.empty() ? std::optional<Estimate>() : mean_of_tasks(differences);
}

std::optional<Estimate> higher_value(const TaskValues &better, const TaskValues &worse,
                                     const std::string &task) {
    const auto a = better.find(task);
    const auto b = worse.find(task);
    if (a == better.end() || b == worse.end() || a->second.empty() ||
        a->second.size() != b->second.size()) {
        return {};
    }
    return estimate_paired_difference(a->second, b->second);
}

std::optional<Estimate> faster(const SpeedPair &better, const SpeedPair &worse) {
    const std::optional<Estimate> a = faster_than_dense(better);
    const std::optional<Estimate> b = faster_than_dense(worse);
    if (!a || !b) {
        return {};
    }
    return Estimate{a->mean - b->mean, std::hypot(a->standard_error, b->standard_error),
                    a->n + b->n};
}

std::optional<Estimate> faster_than_dense(const SpeedPair &speed) {
    if (speed.seconds.empty()) {
        return {};
    }
    return estimate_mean(log_speed_ups(speed));
}

std::optional<Estimate> mean_of(const TaskValues &values) {
    std::vector<Estimate> means;
    for (const auto &[task, of_task] : values) {
        means.push_back(estimate_mean(of_task));
    }
    return means.empty() ? std::optional<Estimate>() : mean_of_tasks(means);
}

std::optional<Estimate> perplexity_of(const PlanFindings &findings) {
    if (findings.window_nlls.empty()) {
        return {};
    }
    const Estimate nll = estimate_mean(findings.window_nlls);
    return Estimate{std::exp(nll.mean), std::exp(nll.mean) * nll.standard_error, nll.n};
}

std::optional<double> speed_up_of(const SpeedPair &speed) {
    if (speed.seconds.empty()) {
        return {};
    }
    return std::exp(median(log_speed_ups(speed)));
}

}  // namespace orthorank
