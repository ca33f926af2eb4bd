// One round of layer selection as a lazy race (--race; docs/layer-selection.md, Speed). Lazy: what
// a change adds to the loss grows, as a rule, as more layers are changed, so what it added when it
// was last measured is a bound; a candidate whose bound is not below the best complete one of this
// round is not measured again. A race: a candidate that is measured is given up after the first
// window on which it is clearly behind the best complete one, but not before it ran a window of
// each kind. The test is Student's on paired differences: the mean over blocks of 32 tokens of the
// candidate's minus the leader's negative log-likelihood, blocks weighted so that each window
// counts alike, as in the loss; clearly behind when it is more than 4 standard errors above zero
// and there are 8 blocks at least. Tokens of one block are not independent, blocks nearly are.
// Plain data, one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <vector>

namespace orthorank {

// The means over blocks of 32 of one window's values, a value per token.
std::vector<double> block_means(std::span<const float> values);

// By window in the order in which they were run: the means of its blocks.
using WindowBlocks = std::vector<std::vector<double>>;

// The test, on the windows that both have run: is the mean difference to the leader clearly above
// zero?
bool is_clearly_behind(std::span<const std::vector<double>> blocks,
                       std::span<const std::vector<double>> leader);

// What the rounds so far left for the next one. The base is the model as they changed it; a loss is
// the mean negative log-likelihood of a window.
struct RaceMemory {
    std::vector<double> base_losses;  // by window
    // By layer: what changing it added to the base's loss when it was last measured, in the windows
    // that it then ran, from the first on. No entry: never measured. Infinite: no number.
    std::map<int, std::vector<double>> growths;
};

struct RaceResult {
    int layer = -1;  // of the lowest loss, the lowest layer among equals; -1: no loss is a number
    // Per candidate: the sum of its losses; NaN: not measured on all windows.
    std::vector<double> losses;
};

// The log-probabilities of a window's tokens, of the base with this layer changed too. Asked for
// once at most for each window and candidate.
using CandidateLogProbs = std::function<std::vector<float>(size_t window, int layer)>;

// candidates: layers, ascending. On as many windows as the memory has losses of the base; the first
// n_kinds of them are of different kinds. Then the memory is that for the next round, in which the
// winner is changed.
RaceResult run_race(std::span<const int> candidates, size_t n_kinds, RaceMemory &memory,
                    const CandidateLogProbs &log_probs);

}  // namespace orthorank
