#include "calibration/selection_race.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

namespace {

constexpr double k_infinity = std::numeric_limits<double>::infinity();
constexpr size_t k_block = 32;
constexpr size_t k_min_blocks = 8;
constexpr double k_max_errors = 4.0;

// A candidate in this round.
struct Runner {
    int layer = -1;
    std::vector<double> losses;  // of the windows that it ran
    WindowBlocks blocks;         // mean negative log-likelihood of each block of theirs

    double loss() const {
        double sum = 0;
        for (double loss : losses) {
            sum += loss;
        }
        return sum;
    }
};

class Race {
 public:
    Race(std::span<const int> candidates, size_t n_kinds, RaceMemory &memory,
         const CandidateLogProbs &log_probs)
        : n_kinds_(std::min(n_kinds, memory.base_losses.size())),
          memory_(memory),
          log_probs_(log_probs) {
        CHECK(std::is_sorted(candidates.begin(), candidates.end()));
        for (int layer : candidates) {
            runners_.push_back({layer, {}, {}});
        }
    }

    RaceResult run() {
        for (Runner &runner : runners_) {
            const bool is_known = memory_.growths.count(runner.layer) != 0;
            while (!is_known && runner.losses.size() < n_kinds_ && std::isfinite(runner.loss())) {
                run_window(runner);
            }
        }
        for (Runner *runner : most_promising_first()) {
            if (!has_too_high_bound(*runner)) {
                measure(*runner);
            }
        }
        RaceResult result;
        for (const Runner &runner : runners_) {
            result.losses.push_back(is_complete(runner) ? runner.loss()
                                                        : std::numeric_limits<double>::quiet_NaN());
        }
        if (leader_ != nullptr) {
            result.layer = leader_->layer;
            memory_.base_losses = leader_->losses;
            memory_.growths.erase(leader_->layer);
        }
        return result;
    }

 private:
    // By the growth last known: whoever is likely to lead runs first, and the others against it.
    std::vector<Runner *> most_promising_first() {
        std::vector<Runner *> order;
        for (Runner &runner : runners_) {
            order.push_back(&runner);
        }
        std::stable_sort(order.begin(), order.end(), [&](const Runner *a, const Runner *b) {
            return mean(growths(*a)) < mean(growths(*b));
        });
        return order;
    }

    // Of a candidate that was not measured in this round: did it even then, on the same windows,
    // add no less than the leader adds now?
    bool has_too_high_bound(const Runner &runner) const {
        if (leader_ == nullptr || !runner.losses.empty()) {
            return false;
        }
        const std::span<const double> bound = growths(runner);
        return mean(bound) >= mean(growths(*leader_).first(bound.size()));
    }

    // To the last window, if it is not clearly behind before.
    void measure(Runner &runner) {
        while (!is_complete(runner)) {
            const bool is_hopeless = !std::isfinite(runner.loss()) ||
                                     (leader_ != nullptr && runner.losses.size() >= n_kinds_ &&
                                      is_clearly_behind(runner.blocks, leader_->blocks));
            if (is_hopeless) {
                return;
            }
            run_window(runner);
        }
        if (std::isfinite(runner.loss()) && (leader_ == nullptr || is_better(runner, *leader_))) {
            leader_ = &runner;
        }
    }

    static bool is_better(const Runner &a, const Runner &b) {
        return a.loss() != b.loss() ? a.loss() < b.loss() : a.layer < b.layer;
    }

    void run_window(Runner &runner) {
        const size_t window = runner.losses.size();
        const std::vector<float> log_probs = log_probs_(window, runner.layer);
        runner.losses.push_back(-mean(log_probs));
        runner.blocks.push_back(block_means(log_probs));
        for (double &block : runner.blocks.back()) {
            block = -block;
        }
        std::vector<double> &growths = memory_.growths[runner.layer];
        const double growth = runner.losses.back() - memory_.base_losses[window];
        growths.resize(window);  // what an earlier round left is out of date
        growths.push_back(std::isfinite(growth) ? growth : k_infinity);
    }

    bool is_complete(const Runner &runner) const {
        return runner.losses.size() == memory_.base_losses.size();
    }

    std::span<const double> growths(const Runner &runner) const {
        return memory_.growths.at(runner.layer);
    }

    size_t n_kinds_;
    RaceMemory &memory_;
    const CandidateLogProbs &log_probs_;
    std::vector<Runner> runners_;
    const Runner *leader_ = nullptr;  // the best of those that ran all windows
};

}  // namespace

std::vector<double> block_means(std::span<const float> values) {
    std::vector<double> means;
    for (size_t first = 0; first < values.size(); first += k_block) {
        means.push_back(mean(values.subspan(first, std::min(k_block, values.size() - first))));
    }
    return means;
}

bool is_clearly_behind(std::span<const std::vector<double>> blocks,
                       std::span<const std::vector<double>> leader) {
    std::vector<double> differences;
    std::vector<double> weights;  // of a window 1
    const size_t n_windows = std::min(blocks.size(), leader.size());
    double center = 0;
    for (size_t w = 0; w < n_windows; ++w) {
        for (size_t b = 0; b < blocks[w].size(); ++b) {
            differences.push_back(blocks[w][b] - leader[w][b]);
            weights.push_back(1.0 / static_cast<double>(blocks[w].size() * n_windows));
            center += weights.back() * differences.back();
        }
    }
    const size_t n = differences.size();
    if (n < k_min_blocks) {
        return false;
    }
    double sum = 0;
    for (size_t b = 0; b < n; ++b) {
        const double part = weights[b] * (differences[b] - center);
        sum += part * part;
    }
    // That of the plain mean where all weights are 1 / n.
    const double error = std::sqrt(sum * static_cast<double>(n) / static_cast<double>(n - 1));
    return center > k_max_errors * error;
}

RaceResult run_race(std::span<const int> candidates, size_t n_kinds, RaceMemory &memory,
                    const CandidateLogProbs &log_probs) {
    CHECK(!memory.base_losses.empty() && n_kinds > 0);
    return Race(candidates, n_kinds, memory, log_probs).run();
}

}  // namespace orthorank
