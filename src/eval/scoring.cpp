#include "eval/scoring.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

size_t argmax(std::span<const double> values) {
    size_t best = 0;
    double best_value = -std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < values.size(); i++) {
        if (values[i] > best_value) {
            best = i;
            best_value = values[i];
        }
    }
    return best;
}

ChoiceScore score_choices(const ChoiceDocument &document, std::span<const double> log_likelihoods) {
    CHECK(log_likelihoods.size() == document.pairs.size());
    CHECK(log_likelihoods.size() == document.choice_characters.size());
    std::vector<double> per_character(log_likelihoods.begin(), log_likelihoods.end());
    for (size_t i = 0; i < per_character.size(); i++) {
        // an empty choice has no length to divide by: -inf, as the harness's numpy division gives
        per_character[i] /= static_cast<double>(document.choice_characters[i]);
    }
    ChoiceScore score;
    score.predicted = argmax(log_likelihoods);
    score.predicted_norm = argmax(per_character);
    score.acc = score.predicted == document.gold ? 1 : 0;
    score.acc_norm = score.predicted_norm == document.gold ? 1 : 0;
    score.mc2 = probability_of_true(log_likelihoods, document.labels);
    return score;
}

double metric_value(const ChoiceScore &score, Metric metric) {
    switch (metric) {
        case Metric::acc:
            return score.acc;
        case Metric::acc_norm:
            return score.acc_norm;
        case Metric::mc2:
            return score.mc2;
        case Metric::bleu_max:
            break;
    }
    check_failed("a task with choices is not scored by BLEU", __FILE__, __LINE__);
}

double probability_of_true(std::span<const double> log_likelihoods, std::span<const int> labels) {
    CHECK(log_likelihoods.size() == labels.size());
    if (labels.empty()) {
        return 0;
    }
    const double largest = *std::max_element(log_likelihoods.begin(), log_likelihoods.end());
    double sum_true = 0;
    double sum_all = 0;
    for (size_t i = 0; i < labels.size(); i++) {
        const double p = std::exp(log_likelihoods[i] - largest);
        sum_all += p;
        sum_true += labels[i] == 1 ? p : 0;
    }
    return sum_true / sum_all;
}

Estimate estimate_mean(std::span<const double> values) {
    return {mean(values), standard_error(values), values.size()};
}

Estimate estimate_paired_difference(std::span<const double> values, std::span<const double> base) {
    CHECK(values.size() == base.size());
    std::vector<double> differences(values.begin(), values.end());
    for (size_t i = 0; i < differences.size(); i++) {
        differences[i] -= base[i];
    }
    return estimate_mean(differences);
}

Estimate mean_of_tasks(std::span<const Estimate> tasks) {
    CHECK(!tasks.empty());
    const double n_tasks = static_cast<double>(tasks.size());
    double sum = 0;
    double sum_of_squares = 0;
    size_t n = 0;
    for (const Estimate &task : tasks) {
        sum += task.mean;
        sum_of_squares += task.standard_error * task.standard_error;
        n += task.n;
    }
    return {sum / n_tasks, std::sqrt(sum_of_squares) / n_tasks, n};
}

}  // namespace orthorank
