// The statistical race of one round of layer selection (--race): after each window, candidates that
// are clearly behind the leader are given up. The test is Student's on paired differences: the mean
// over blocks of 32 tokens of the candidate's minus the leader's negative log-likelihood, given up
// when it is more than 4 standard errors above zero and there are 8 blocks at least. Tokens of one
// block are not independent, blocks nearly are. Plain data, one thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace orthorank {

// The means over blocks of 32 of one window's values, a value per token.
std::vector<double> block_means(std::span<const float> values);

// The test, on the blocks of the windows that both have run: is the mean difference to the leader
// clearly above zero?
bool is_clearly_behind(std::span<const double> blocks, std::span<const double> leader);

class SelectionRace {
 public:
    SelectionRace(std::span<const int> candidates, size_t n_windows);

    // Indices of the candidates still in it, ascending.
    std::vector<size_t> alive() const;
    bool is_alive(size_t i) const { return candidates_[i].is_alive; }
    // One window's log-probabilities of a candidate, windows in the same order for all.
    void add(size_t i, std::span<const float> log_probs);
    // After a window: gives up those that are clearly behind.
    void drop();
    // Per candidate: the sum over windows of mean negative log-likelihoods; NaN: given up.
    std::vector<double> losses() const;

 private:
    struct Candidate {
        bool is_alive = true;
        double loss = 0;
        size_t n_windows = 0;
        std::vector<double> blocks;  // mean negative log-likelihood of each block
    };
    bool is_behind(const Candidate &candidate, const Candidate &leader) const;

    std::vector<Candidate> candidates_;
    size_t n_windows_;
};

}  // namespace orthorank
