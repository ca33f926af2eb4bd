#include "tasks/selection_race.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/statistics.h"

namespace orthorank {

namespace {

constexpr size_t k_block = 32;
constexpr size_t k_min_blocks = 8;
constexpr double k_max_errors = 4.0;

}  // namespace

std::vector<double> block_means(std::span<const float> values) {
    std::vector<double> means;
    for (size_t first = 0; first < values.size(); first += k_block) {
        const std::span<const float> block =
            values.subspan(first, std::min(k_block, values.size() - first));
        double sum = 0;
        for (float value : block) {
            sum += static_cast<double>(value);
        }
        means.push_back(sum / static_cast<double>(block.size()));
    }
    return means;
}

bool is_clearly_behind(std::span<const double> blocks, std::span<const double> leader) {
    std::vector<double> differences;
    for (size_t b = 0; b < std::min(blocks.size(), leader.size()); ++b) {
        differences.push_back(blocks[b] - leader[b]);
    }
    return differences.size() >= k_min_blocks &&
           mean(differences) > k_max_errors * standard_error(differences);
}

SelectionRace::SelectionRace(std::span<const int> candidates, size_t n_windows)
    : candidates_(candidates.size()), n_windows_(n_windows) {}

std::vector<size_t> SelectionRace::alive() const {
    std::vector<size_t> indices;
    for (size_t i = 0; i < candidates_.size(); ++i) {
        if (candidates_[i].is_alive) {
            indices.push_back(i);
        }
    }
    return indices;
}

void SelectionRace::add(size_t i, std::span<const float> log_probs) {
    Candidate &candidate = candidates_[i];
    double sum = 0;
    for (float log_prob : log_probs) {
        sum -= static_cast<double>(log_prob);
    }
    for (double block : block_means(log_probs)) {
        candidate.blocks.push_back(-block);
    }
    candidate.loss += sum / static_cast<double>(log_probs.size());
    candidate.n_windows += 1;
}

bool SelectionRace::is_behind(const Candidate &candidate, const Candidate &leader) const {
    return !std::isfinite(candidate.loss) || is_clearly_behind(candidate.blocks, leader.blocks);
}

void SelectionRace::drop() {
    const Candidate *leader = nullptr;
    for (const Candidate &candidate : candidates_) {
        if (candidate.is_alive && std::isfinite(candidate.loss) &&
            (leader == nullptr || candidate.loss < leader->loss)) {
            leader = &candidate;
        }
    }
    for (Candidate &candidate : candidates_) {
        if (leader != nullptr && candidate.is_alive && &candidate != leader) {
            candidate.is_alive = !is_behind(candidate, *leader);
        }
    }
}

std::vector<double> SelectionRace::losses() const {
    std::vector<double> losses;
    for (const Candidate &candidate : candidates_) {
        const bool is_complete = candidate.is_alive || candidate.n_windows == n_windows_;
        losses.push_back(is_complete ? candidate.loss : std::numeric_limits<double>::quiet_NaN());
    }
    return losses;
}

}  // namespace orthorank
