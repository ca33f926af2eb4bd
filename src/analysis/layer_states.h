// What one dense pass over a text shows of every layer: the rows that enter it, normed as its
// attention sees them, the attention that goes to the first position, and what every policy would
// have picked against what computing a row changed. Taken layer by layer while the pass runs; kept
// are numbers by row, and the rows of a few positions.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

// How far the order of a policy agrees with that of what the layer changed in the rows, |h' - h|,
// the first row aside.
struct PolicyAgreement {
    std::string policy;
    double correlation = 0;  // Spearman's; 1: the policy's best row is the one that changed most
    double overlap = 0;      // the part of its chosen rows that are among as many that changed most
};

// Of the cosine with the first row as a function of a row (Equations 1 to 3), over rows 1 and on.
struct GradientCheck {
    // The largest distance of Equation 1's gradient from finite differences, as a part of the
    // longest gradient that the row could have, of the rows that are kept.
    double largest_error = 0;
    // Spearman's correlations, and the parts of the chosen rows that both choose: of |cosine| with
    // the length of the gradient, of |inner product| with |cosine|, and with the gradient.
    double cosine_gradient = 0;
    double inner_cosine = 0;
    double inner_gradient = 0;
    double overlap_cosine_gradient = 0;
    double overlap_inner_cosine = 0;
};

// The input of one layer.
struct LayerStates {
    double sink_peak = 0;         // the largest |value| in the first row
    double median_magnitude = 0;  // of |value| over all rows
    // Other positions with a massive activation: above 100 and 1000 times the median, as the first
    // row's.
    std::vector<int> massive_positions;
    std::vector<double> sink_cosines;    // of each normed row with the first one
    std::vector<double> norms;           // of the normed rows
    double norm_weight_variance = 0;     // of the attention norm's learned weight
    double sink_scaling_cosine = 0;      // of row 0 before and after that weight
    double mean_scaling_cosine = 0;      // the mean of the others'
    std::vector<double> sink_attention;  // by head: mean over rows 1 and on of what goes to key 0
    GradientCheck gradient;
    std::vector<PolicyAgreement> agreements;

    double mean_sink_cosine() const;     // over rows 1 and on
    double mean_sink_attention() const;  // over heads
};

struct TextStates {
    size_t n_tokens = 0;
    double ratio = 0;  // of the chosen rows
    std::vector<LayerStates> layers;
    // The normed rows of some positions: [n_embd] by position and layer.
    std::map<int, std::vector<std::vector<float>>> kept;

    // Cosine of rows i and j where layer il begins; of row i in two layers. Both kept.
    double cosine(size_t il, int i, int j) const;
    double cosine_across(int i, size_t il, size_t other) const;
};

struct TextStatesOptions {
    double ratio = 0.333;
    std::vector<int> kept_positions;  // those beyond the text are left out
    std::function<void(double)> on_progress;
    std::function<bool()> should_stop;  // asked between layers
};

// One dense prefill of the tokens, at least two, and one more for each policy whose scores the
// engine itself must give. The engine needs a free sequence and a context for
// them; chunk_rows_for() says how many rows at a time keep its memory small. Throws Interrupted.
TextStates text_states(Engine &engine, std::span<const int32_t> tokens,
                       const TextStatesOptions &options);

// Rows of one graph whose attention probabilities take at most 64 MiB.
int chunk_rows_for(const Hparams &hparams, size_t n_tokens);

// The cosine of two vectors of equal length, in double; NaN for a zero one.
double cosine_of(std::span<const float> a, std::span<const float> b);

}  // namespace orthorank
