// The fits of one layer against the same fits made by hand: which rows belong to which choice, and
// that several choices at once are each what it would be alone.
#include "calibration/layer_fits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "model/attn_norm.h"
#include "select/selection.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

constexpr int k_n_tokens = 96;
constexpr int k_layer = 1;

class HiddenTap : public Tap {
 public:
    bool wants_hidden(int boundary) const override {
        return boundary == k_layer || boundary == k_layer + 1;
    }
    void on_hidden(int boundary, size_t, std::span<const float> hidden) override {
        (boundary == k_layer ? before : behind).assign(hidden.begin(), hidden.end());
    }
    std::vector<float> before;
    std::vector<float> behind;
};

// A tiny model and the hidden states of two windows around one layer; the target is what the dense
// layer gives and a little more, so that drift is to be made good too.
class LayerFits : public testing::Test {
 protected:
    LayerFits() {
        test::TinyModel tiny = test::tiny_llama_gqa_tied();
        tiny.n_layers = 4;
        test::write_tiny_gguf(tiny, dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
        EngineOptions options;
        options.kernels = Kernels::exact;
        options.n_ctx = k_n_tokens;
        options.n_threads = 1;
        options.kv_type = KvType::f32;
        engine_ = std::make_unique<Engine>(*model_, options);
        for (int w = 0; w < 2; ++w) {
            run_window(static_cast<uint32_t>(w + 1));
        }
        for (const HiddenTap &tap : taps_) {
            rows_.push_back({tap.before, tap.behind});
        }
    }

    void run_window(uint32_t state) {
        std::vector<int32_t> tokens;
        for (int i = 0; i < k_n_tokens; ++i) {
            state = state * 1664525 + 1013904223;
            tokens.push_back(static_cast<int32_t>(3 + (state >> 16) % 285));
        }
        HiddenTap tap;
        Sequence sequence = engine_->new_sequence(dense_plan(4), Apply::prefill);
        Chunk chunk;
        chunk.sequence = &sequence;
        chunk.tokens = tokens;
        chunk.outputs = Outputs::none;
        ForwardOptions options;
        options.tap = &tap;
        options.end_layer = k_layer + 1;
        engine_->forward(std::span(&chunk, 1), options);
        for (size_t i = 0; i < tap.behind.size(); ++i) {
            tap.behind[i] += 0.01F * static_cast<float>(i % 7);
        }
        taps_.push_back(std::move(tap));
    }

    // Moments of some rows of each window.
    Moments moments_of(const std::vector<std::vector<int32_t>> &rows_of_window) {
        const auto n = static_cast<size_t>(model_->hparams().n_embd);
        Moments moments(static_cast<int>(n), static_cast<int>(n));
        for (size_t w = 0; w < rows_.size(); ++w) {
            const std::vector<float> normed = attn_normed_rows(*model_, k_layer, rows_[w].hidden);
            for (int32_t row : rows_of_window[w]) {
                const size_t first = static_cast<size_t>(row) * n;
                std::vector<float> difference(n);
                for (size_t i = 0; i < n; ++i) {
                    difference[i] = rows_[w].target[first + i] - rows_[w].hidden[first + i];
                }
                moments.add(std::span(normed).subspan(first, n), difference);
            }
        }
        return moments;
    }

    // The rows but the sink that a choice leaves out, by the engine's own record.
    std::vector<int32_t> left_out(size_t window, const LayerPlan &choice) {
        Plan plan = dense_plan(4);
        plan.layers[k_layer] = choice;
        Sequence sequence = engine_->new_sequence(plan, Apply::prefill);
        Chunk chunk;
        chunk.sequence = &sequence;
        chunk.hidden = rows_[window].hidden;
        chunk.outputs = Outputs::none;
        ForwardOptions options;
        options.first_layer = k_layer;
        options.end_layer = k_layer + 1;
        engine_->forward(std::span(&chunk, 1), options);
        const std::vector<uint8_t> &chosen = sequence.record(k_layer).chosen;
        std::vector<int32_t> rows;
        for (size_t row = 1; row < chosen.size(); ++row) {
            if (chosen[row] == 0) {
                rows.push_back(static_cast<int32_t>(row));
            }
        }
        return rows;
    }

    static LayerPlan choice_of(double ratio, const char *policy = "orthogonal") {
        LayerPlan choice;
        choice.action = Action::select;
        choice.ratio = ratio;
        choice.policy = policy_from_name(policy);
        return choice;
    }
    static LayerPlan removed() {
        LayerPlan choice;
        choice.action = Action::skip;
        return choice;
    }

    // Sums in another order: equal but for rounding.
    static void expect_near(const std::vector<float> &a, const std::vector<float> &b) {
        ASSERT_EQ(a.size(), b.size());
        for (size_t i = 0; i < a.size(); ++i) {
            EXPECT_NEAR(a[i], b[i], 1e-4 * (1.0 + std::abs(b[i]))) << i;
        }
    }

    test::TempDir dir_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Engine> engine_;
    std::vector<HiddenTap> taps_;
    std::vector<LayerRows> rows_;
};

TEST_F(LayerFits, RowsLeftOutByThePolicyAreCorrected) {
    const std::vector<LayerPlan> choices = {choice_of(0.5), choice_of(0.25), removed()};
    LayerFitter fitter(*engine_, {64, 0.01});  // full rank: no signs of singular vectors to differ
    const std::vector<LayerPlan> fitted = fitter.fit(k_layer, rows_, choices);
    ASSERT_EQ(fitted.size(), 3u);
    for (size_t i = 0; i < 2; ++i) {
        const Moments moments = moments_of({left_out(0, choices[i]), left_out(1, choices[i])});
        EXPECT_EQ(moments.n_rows(), i == 0 ? 2 * 47 : 2 * 71);  // sinks are in neither
        const Correction expected = fit_correction(moments, 64, 0.01);
        expect_near(fitted[i].correction->bias, expected.bias);
        expect_near(fitted[i].correction->down, expected.down);
        EXPECT_EQ(fitted[i].probe, nullptr);
        EXPECT_EQ(fitted[i].ratio, choices[i].ratio);
    }
    std::vector<int32_t> all;
    for (int32_t row = 1; row < k_n_tokens; ++row) {
        all.push_back(row);
    }
    const Correction expected = fit_correction(moments_of({all, all}), 64, 0.01);
    expect_near(fitted[2].correction->bias, expected.bias);
    expect_near(fitted[2].correction->down, expected.down);
}

// The probe is one for all ratios; each choice alone gives the same as all together.
TEST_F(LayerFits, ChoicesDoNotDisturbEachOther) {
    const std::vector<LayerPlan> choices = {choice_of(0.5, "probe"), choice_of(0.25, "probe"),
                                            removed()};
    LayerFitter fitter(*engine_, {64, 0.01});
    const std::vector<LayerPlan> together = fitter.fit(k_layer, rows_, choices);
    EXPECT_EQ(*together[0].probe, *together[1].probe);
    EXPECT_EQ(together[2].probe, nullptr);
    for (size_t i = 0; i < choices.size(); ++i) {
        const LayerPlan alone = fitter.fit(k_layer, rows_, std::span(&choices[i], 1)).front();
        expect_near(together[i].correction->bias, alone.correction->bias);
        expect_near(together[i].correction->down, alone.correction->down);
        if (alone.probe) {
            EXPECT_EQ(*alone.probe, *together[i].probe);
        }
    }
}

// The probe computes the rows that gain most: with its rows the layer is closer to the target than
// with the same number of rows from the other end.
TEST_F(LayerFits, ProbePredictsTheGain) {
    LayerFitter fitter(*engine_, {8, 0.01});
    const LayerPlan choice = choice_of(0.25, "probe");
    const LayerPlan fitted = fitter.fit(k_layer, rows_, std::span(&choice, 1)).front();
    const auto n = static_cast<size_t>(model_->hparams().n_embd);
    std::vector<int32_t> all;
    for (int32_t row = 1; row < k_n_tokens; ++row) {
        all.push_back(row);
    }
    const Correction correction = fit_correction(moments_of({all, all}), 8, 0.01);
    // With full information: the size of what the correction of all rows leaves undone.
    double of_probe = 0;
    double of_others = 0;
    for (const LayerRows &rows : rows_) {
        const std::vector<float> normed = attn_normed_rows(*model_, k_layer, rows.hidden);
        std::vector<float> scores(k_n_tokens, 0);
        for (size_t row = 0; row < scores.size(); ++row) {
            for (size_t i = 0; i < n; ++i) {
                scores[row] += fitted.probe->weight[i] * normed[row * n + i];
            }
        }
        const auto rest = [&](int32_t row) {
            double sum = 0;
            for (size_t i = 0; i < n; ++i) {
                double value = correction.bias[i];
                for (size_t r = 0; r < 8; ++r) {
                    double down = 0;
                    for (size_t j = 0; j < n; ++j) {
                        down +=
                            correction.down[r * n + j] * normed[static_cast<size_t>(row) * n + j];
                    }
                    value += correction.up[i * 8 + r] * down;
                }
                const size_t at = static_cast<size_t>(row) * n + i;
                const double error = rows.target[at] - rows.hidden[at] - value;
                sum += error * error;
            }
            return std::sqrt(sum);
        };
        for (int32_t row : pick_rows(PickOrder::largest, scores, 0, 0.25)) {
            of_probe += rest(row);
        }
        for (int32_t row : pick_rows(PickOrder::smallest, scores, 0, 0.25)) {
            of_others += rest(row);
        }
    }
    EXPECT_GT(of_probe, 1.05 * of_others);
}

}  // namespace
}  // namespace orthorank
