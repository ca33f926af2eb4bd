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
    for (size_t first = 0; first < log_probs.size(); first += k_block) {
        const size_t n = std::min(k_block, log_probs.size() - first);
        double block = 0;
        for (float log_prob : log_probs.subspan(first, n)) {
            block -= static_cast<double>(log_prob);
        }
        sum += block;
        candidate.blocks.push_back(block / static_cast<double>(n));
    }
    candidate.loss += sum / static_cast<double>(log_probs.size());
    candidate.n_windows += 1;
}

bool SelectionRace::is_behind(const Candidate &candidate, const Candidate &leader) const {
    if (!std::isfinite(candidate.loss)) {
        return true;
    }
    std::vector<double> differences;
    for (size_t b = 0; b < candidate.blocks.size(); ++b) {
        differences.push_back(candidate.blocks[b] - leader.blocks[b]);
    }
    return differences.size() >= k_min_blocks &&
           mean(differences) > k_max_errors * standard_error(differences);
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
