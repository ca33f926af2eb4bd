#include "analysis/layer_states.h"

#include <algorithm>
#include <cmath>

#include "analysis/row_orders.h"
#include "base/error.h"
#include "base/statistics.h"
#include "model/attn_norm.h"

namespace orthorank {

namespace {

constexpr int64_t k_max_attention_bytes = int64_t{64} << 20;
constexpr double k_states_part = 0.8;  // of the time: the pass that is watched

double largest_magnitude(std::span<const float> row) {
    double largest = 0;
    for (float value : row) {
        largest = std::max(largest, static_cast<double>(std::fabs(value)));
    }
    return largest;
}

double median_magnitude(std::span<const float> values) {
    std::vector<float> magnitudes(values.size());
    std::transform(values.begin(), values.end(), magnitudes.begin(),
                   [](float value) { return std::fabs(value); });
    const auto middle = magnitudes.begin() + static_cast<ptrdiff_t>(magnitudes.size() / 2);
    std::nth_element(magnitudes.begin(), middle, magnitudes.end());
    return *middle;
}

// Follows one pass over one chunk: the states that enter a layer, then its attention, then those
// that enter the next one.
class StatesTap : public Tap {
 public:
    StatesTap(const Model &model, size_t n_tokens, const TextStatesOptions &options)
        : model_(model), options_(options), n_embd_(static_cast<size_t>(model.hparams().n_embd)) {
        states_.n_tokens = n_tokens;
        states_.ratio = options.ratio;
        states_.layers.resize(static_cast<size_t>(model.hparams().n_layers));
    }

    bool wants_hidden(int) const override { return true; }
    bool wants_attention(int) const override { return true; }

    void on_hidden(int boundary, size_t, std::span<const float> hidden) override {
        if (options_.should_stop && options_.should_stop()) {
            throw Interrupted("interrupted");
        }
        const auto n_layers = static_cast<int>(states_.layers.size());
        if (boundary > 0) {
            finish_layer(boundary - 1, hidden);
        }
        if (boundary < n_layers) {
            begin_layer(boundary, hidden);
        }
        if (options_.on_progress) {
            options_.on_progress(k_states_part * boundary / n_layers);
        }
    }

    void on_attention(int il, const AttentionBlock &block) override {
        std::vector<double> &to_sink = layer(il).sink_attention;
        to_sink.resize(static_cast<size_t>(block.n_heads), 0.0);
        received_.resize(states_.n_tokens, 0.0);
        const auto n_keys = static_cast<size_t>(block.n_keys);
        const size_t n_seen = std::min(n_keys, received_.size());
        const float *row = block.probabilities.data();
        for (double &share : to_sink) {
            for (int64_t r = 0; r < block.n_rows; ++r, row += n_keys) {
                for (size_t key = 0; key < n_seen; ++key) {
                    received_[key] += row[key];
                }
                if (block.first_row + r > 0) {  // the first row sees nothing else
                    share += row[0] / static_cast<double>(received_.size() - 1);
                }
            }
        }
    }

    TextStates taken() { return std::move(states_); }
    // By layer and row: the length of what the layer added to it.
    const std::vector<std::vector<double>> &changes() const { return changes_; }

 private:
    LayerStates &layer(int il) { return states_.layers[static_cast<size_t>(il)]; }
    std::span<const float> row(const std::vector<float> &rows, size_t i) const {
        return std::span(rows).subspan(i * n_embd_, n_embd_);
    }

    void begin_layer(int il, std::span<const float> hidden) {
        hidden_.assign(hidden.begin(), hidden.end());
        normed_ = attn_normed_rows(model_, il, hidden);
        received_.clear();
        measure_activations(layer(il));
        measure_normed(il, layer(il));
    }

    void measure_activations(LayerStates &states) const {
        states.median_magnitude = median_magnitude(hidden_);
        states.sink_peak = largest_magnitude(row(hidden_, 0));
        for (size_t i = 1; i < states_.n_tokens; ++i) {
            if (is_massive(largest_magnitude(row(hidden_, i)), states.median_magnitude)) {
                states.massive_positions.push_back(static_cast<int>(i));
            }
        }
    }

    void measure_normed(int il, LayerStates &states) {
        std::vector<double> scaling;
        for (size_t i = 0; i < states_.n_tokens; ++i) {
            states.sink_cosines.push_back(cosine_of(row(normed_, 0), row(normed_, i)));
            states.norms.push_back(std::sqrt(inner_product(row(normed_, i), row(normed_, i))));
            scaling.push_back(cosine_of(row(hidden_, i), row(normed_, i)));
        }
        states.sink_scaling_cosine = scaling.front();
        states.mean_scaling_cosine = mean(std::span<const double>(scaling).subspan(1));
        states.norm_weight_variance = norm_weight_variance(model_, il);
        for (int position : options_.kept_positions) {
            if (position < static_cast<int>(states_.n_tokens)) {
                const auto kept = row(normed_, static_cast<size_t>(position));
                states_.kept[position].emplace_back(kept.begin(), kept.end());
                if (position > 0) {
                    states.gradient.largest_error = std::max(states.gradient.largest_error,
                                                             gradient_error(row(normed_, 0), kept));
                }
            }
        }
        compare_equations(states.norms, states.sink_cosines, states_.ratio, states.gradient);
    }

    // The states that leave the layer are there.
    void finish_layer(int il, std::span<const float> after) {
        std::vector<double> changes;
        for (size_t i = 0; i < states_.n_tokens; ++i) {
            double squares = 0;
            for (size_t j = i * n_embd_; j < (i + 1) * n_embd_; ++j) {
                const double change = static_cast<double>(after[j]) - hidden_[j];
                squares += change * change;
            }
            changes.push_back(std::sqrt(squares));
        }
        RowScores scores;
        scores.layer = il;
        scores.hidden = hidden_;
        scores.normed = normed_;
        scores.received = received_;
        layer(il).agreements = policy_agreements(scores, changes, states_.ratio);
        changes_.push_back(std::move(changes));
    }

    const Model &model_;
    const TextStatesOptions &options_;
    size_t n_embd_;
    TextStates states_;
    std::vector<float> hidden_;  // that enter the layer in progress, [n_embd, n_tokens]
    std::vector<float> normed_;
    std::vector<double> received_;  // attention, by key, over heads and rows
    std::vector<std::vector<double>> changes_;
};

void run_pass(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens, Tap *tap) {
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.tokens = tokens;
    chunk.outputs = Outputs::none;
    ForwardOptions forward;
    forward.tap = tap;
    engine.forward(std::span(&chunk, 1), forward);
}

// All layers select by the policy and compute all rows: the dense pass, with the scores that the
// engine itself gives it.
void add_engine_scored(Engine &engine, std::span<const int32_t> tokens, std::string_view name,
                       const std::vector<std::vector<double>> &changes, TextStates &states) {
    Plan plan = dense_plan(engine.model().hparams().n_layers);
    for (LayerPlan &layer : plan.layers) {
        layer.action = Action::select;
        layer.policy = policy_from_name(name);
    }
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    run_pass(engine, sequence, tokens, nullptr);
    for (size_t il = 0; il < states.layers.size(); ++il) {
        states.layers[il].agreements.push_back(policy_agreement(
            name, sequence.record(static_cast<int>(il)).scores, changes[il], states.ratio));
    }
}

}  // namespace

double LayerStates::mean_sink_cosine() const {
    return mean(std::span(sink_cosines).subspan(1));
}

double LayerStates::mean_sink_attention() const {
    return mean(std::span(sink_attention));
}

double TextStates::cosine(size_t il, int i, int j) const {
    return cosine_of(kept.at(i)[il], kept.at(j)[il]);
}

double TextStates::cosine_across(int i, size_t il, size_t other) const {
    return cosine_of(kept.at(i)[il], kept.at(i)[other]);
}

TextStates text_states(Engine &engine, std::span<const int32_t> tokens,
                       const TextStatesOptions &options) {
    CHECK(tokens.size() >= 2);
    StatesTap tap(engine.model(), tokens.size(), options);
    {
        Sequence sequence =
            engine.new_sequence(dense_plan(engine.model().hparams().n_layers), Apply::prefill);
        run_pass(engine, sequence, tokens, &tap);
    }
    TextStates states = tap.taken();
    for (std::string_view name : engine_scored_policies()) {
        if (options.should_stop && options.should_stop()) {
            throw Interrupted("interrupted");
        }
        add_engine_scored(engine, tokens, name, tap.changes(), states);
    }
    if (options.on_progress) {
        options.on_progress(1.0);
    }
    return states;
}

int chunk_rows_for(const Hparams &hparams, size_t n_tokens) {
    int64_t bytes_per_row = 1;
    for (const LayerSpec &layer : hparams.layers) {
        bytes_per_row = std::max(bytes_per_row, static_cast<int64_t>(layer.n_head) *
                                                    static_cast<int64_t>(n_tokens) *
                                                    static_cast<int64_t>(sizeof(float)));
    }
    return static_cast<int>(std::clamp<int64_t>(k_max_attention_bytes / bytes_per_row, 16, 512));
}

double cosine_of(std::span<const float> a, std::span<const float> b) {
    return inner_product(a, b) / std::sqrt(inner_product(a, a) * inner_product(b, b));
}

}  // namespace orthorank
