#include "calibration/continuation_weights.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "engine/stretch.h"

namespace orthorank {

std::vector<std::vector<float>> continuation_weights(Engine &engine,
                                                     std::span<const int32_t> window,
                                                     int n_continuation, double part) {
    CHECK(0 < n_continuation && static_cast<size_t>(n_continuation) < window.size());
    // All rows of every layer are computed; the scores alone are wanted.
    LayerPlan asking{Action::select, 1.0, policy_from_name("query")};
    asking.policy.window = n_continuation;
    Plan plan = dense_plan(engine.model().hparams().n_layers);
    std::fill(plan.layers.begin(), plan.layers.end(), asking);
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    Stretch stretch;
    stretch.tokens = window;
    run_stretch(engine, sequence, stretch);

    const size_t n_rows = window.size() - static_cast<size_t>(n_continuation);
    std::vector<std::vector<float>> weights(plan.layers.size(), std::vector<float>(n_rows, 1.0f));
    std::vector<double> received(n_rows, 0.0);
    for (int il = plan.n_layers() - 1; il > 0; --il) {
        const std::vector<float> &scores = sequence.record(il).scores;
        for (size_t row = 1; row < n_rows; ++row) {
            received[row] += double{scores[row]};
        }
        const double mean = std::accumulate(received.begin(), received.end(), 0.0) /
                            static_cast<double>(n_rows - 1);
        for (size_t row = 1; row < n_rows && mean > 0.0; ++row) {
            weights[static_cast<size_t>(il - 1)][row] =
                static_cast<float>(1.0 - part + part * received[row] / mean);
        }
    }
    return weights;
}

}  // namespace orthorank
