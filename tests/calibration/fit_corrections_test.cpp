// The walk over the layers: what it fits is what a fit by hand gives on the states of full passes,
// memory or disk, and it helps on a text that it has not seen.
#include "calibration/fit_corrections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "evaluation/perplexity.h"
#include "model/vocab.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank {
namespace {

using test::expect_error;
using testing::ElementsAre;

constexpr int k_n_ctx = 64;
constexpr int k_n_layers = 6;

struct Loaded {
    std::unique_ptr<Model> model;
    std::unique_ptr<Engine> engine;
};

Loaded load(const std::string &path, int n_ctx) {
    Loaded loaded;
    loaded.model = test::load_on_cpu(path);
    EngineOptions options = test::test_options();
    options.n_ctx = n_ctx;
    options.correction_type = CorrectionType::f32;
    loaded.engine = std::make_unique<Engine>(*loaded.model, options);
    return loaded;
}

Windows random_windows(int n, uint64_t seed) {
    Windows windows;
    windows.n_ctx = k_n_ctx;
    windows.tokens = test::random_tokens(n * k_n_ctx, seed);
    return windows;
}

Plan mixed_plan(const std::string &policy) {
    Plan plan = test::select_plan(k_n_layers, {1, 4}, 0.333, policy);
    plan.layers[2].action = Action::skip;
    return plan;
}

class FitCorrections : public testing::Test {
 protected:
    FitCorrections() {
        test::TinyModel tiny = test::tiny_llama_gqa_tied();
        tiny.n_layers = k_n_layers;
        test::write_tiny_gguf(tiny, dir_.file("m.gguf"));
        loaded_ = load(dir_.file("m.gguf"), k_n_ctx);
        options_.correction.rank = 8;
    }

    Plan fit(const Plan &plan) {
        return fit_corrections(*loaded_.engine, windows_, plan, options_);
    }

    // What enters layer il under the plan, or leaves it, for each window: by full passes.
    std::vector<std::vector<float>> states(const Windows &windows, const Plan &plan, int boundary) {
        std::vector<std::vector<float>> found;
        for (size_t w = 0; w < windows.size(); ++w) {
            test::HiddenTap tap({boundary});
            Sequence sequence = loaded_.engine->new_sequence(plan, Apply::prefill);
            test::run(*loaded_.engine, sequence, windows.window(w), Outputs::all, &tap);
            found.push_back(tap.hidden(boundary));
        }
        return found;
    }

    test::TempDir dir_;
    Loaded loaded_;
    Windows windows_ = random_windows(4, 3);
    FitOptions options_;
};

TEST_F(FitCorrections, EachLayerIsFittedOnTheStatesThatReachIt) {
    for (const char *policy : {"orthogonal", "probe"}) {
        SCOPED_TRACE(policy);
        const Plan plan = mixed_plan(policy);
        const Plan fitted = fit(plan);
        Plan so_far = dense_plan(k_n_layers);
        for (int il : {1, 2, 4}) {
            const auto layer = static_cast<size_t>(il);
            const auto hidden = states(windows_, so_far, il);
            const auto target = states(windows_, dense_plan(k_n_layers), il + 1);
            std::vector<LayerRows> rows;
            for (size_t w = 0; w < windows_.size(); ++w) {
                rows.push_back({hidden[w], target[w]});
            }
            LayerFitter fitter(*loaded_.engine, options_.correction);
            const LayerPlan expected =
                fitter.fit(il, rows, std::span(&plan.layers[layer], 1)).front();
            const LayerPlan &found = fitted.layers[layer];
            EXPECT_EQ(found.action, plan.layers[layer].action);
            EXPECT_EQ(found.policy, plan.layers[layer].policy);
            EXPECT_EQ(found.correction->rank, 8);
            EXPECT_TRUE(test::nmse_below(1e-8, found.correction->bias, expected.correction->bias));
            ASSERT_EQ(found.probe != nullptr, expected.probe != nullptr);
            if (found.probe != nullptr) {
                EXPECT_TRUE(test::nmse_below(1e-8, found.probe->weight, expected.probe->weight));
            }
            so_far.layers[layer] = found;
        }
        EXPECT_EQ(fitted.layers[3], LayerPlan{});
    }
}

TEST_F(FitCorrections, SpillingToDiskGivesTheSameNumbers) {
    const Plan in_memory = fit(mixed_plan("probe"));
    const auto block = static_cast<int64_t>(k_n_ctx * 64 * sizeof(float));
    for (int64_t budget : {int64_t{0}, 3 * block}) {
        options_.budget_bytes = budget;
        const Plan spilled = fit(mixed_plan("probe"));
        for (size_t il = 0; il < spilled.layers.size(); ++il) {
            EXPECT_EQ(spilled.layers[il], in_memory.layers[il]) << il;
        }
    }
}

TEST_F(FitCorrections, OldCorrectionsAreForgotten) {
    const Plan once = fit(mixed_plan("probe"));
    const Plan twice = fit(once);
    for (size_t il = 0; il < once.layers.size(); ++il) {
        EXPECT_EQ(twice.layers[il], once.layers[il]) << il;
    }
}

TEST_F(FitCorrections, TheFirstAndTheLastLayerCanBeCorrected) {
    Plan plan = test::select_plan(k_n_layers, {0}, 0.5);
    plan.layers[k_n_layers - 1].action = Action::skip;
    const Plan fitted = fit(plan);
    EXPECT_NE(fitted.layers.front().correction, nullptr);
    EXPECT_NE(fitted.layers.back().correction, nullptr);
}

// Nothing is left out at ratio 1; a probe is there all the same, as a plan must have it.
TEST_F(FitCorrections, RatioOneIsTheDenseModel) {
    const Plan fitted = fit(test::select_plan(k_n_layers, {2, 3}, 1.0, "probe"));
    EXPECT_NE(fitted.layers[2].probe, nullptr);
    const auto dense = states(windows_, dense_plan(k_n_layers), k_n_layers);
    const auto found = states(windows_, fitted, k_n_layers);
    EXPECT_TRUE(test::rows_close(found[0], dense[0], 64));
}

// Rank 0 adds the mean difference: the states that leave a corrected layer have the dense mean.
TEST_F(FitCorrections, RankZeroMendsTheMean) {
    options_.correction.rank = 0;
    Plan plan = dense_plan(k_n_layers);
    plan.layers[2].action = Action::skip;
    const Plan fitted = fit(plan);
    const auto mean_of = [&](const Plan &of) {
        std::vector<float> mean(64, 0.0F);
        for (const std::vector<float> &window : states(windows_, of, 3)) {
            for (size_t i = 64; i < window.size(); ++i) {
                mean[i % 64] += window[i];
            }
        }
        return mean;
    };
    const std::vector<float> dense = mean_of(dense_plan(k_n_layers));
    EXPECT_LT(test::relative_distance(mean_of(fitted), dense), 1e-5);
    EXPECT_GT(test::relative_distance(mean_of(plan), dense), 1e-2);
}

// Fitted on one random text, the states before the head come nearer to the dense ones on another.
TEST_F(FitCorrections, HelpsOnAnotherText) {
    windows_ = random_windows(12, 3);
    const Windows other = random_windows(4, 99);
    const auto dense = states(other, dense_plan(k_n_layers), k_n_layers);
    const auto error_of = [&](const Plan &plan) {
        double error = 0;
        const auto found = states(other, plan, k_n_layers);
        for (size_t w = 0; w < dense.size(); ++w) {
            error += test::nmse(found[w], dense[w]);
        }
        return error;
    };
    const double plain = error_of(mixed_plan("orthogonal"));
    options_.correction.rank = 0;
    const double mean = error_of(fit(mixed_plan("orthogonal")));
    options_.correction.rank = 32;
    const double corrected = error_of(fit(mixed_plan("orthogonal")));
    const double probed = error_of(fit(mixed_plan("probe")));
    EXPECT_LT(mean, plain);
    EXPECT_LT(corrected, mean);
    EXPECT_LT(probed, corrected);
}

TEST_F(FitCorrections, ReportsEachLayerAndStops) {
    std::vector<int> layers;
    double done = 0;
    options_.on_layer = [&](int layer, const LayerFit &fit) {
        layers.push_back(layer);
        EXPECT_GT(fit.explained, 0.0);
        EXPECT_LE(fit.explained, 1.0);
        EXPECT_EQ(fit.plan.probe != nullptr, fit.r_squared > 0);
    };
    options_.on_progress = [&](double fraction) {
        EXPECT_GT(fraction, done);
        done = fraction;
    };
    fit(mixed_plan("probe"));
    EXPECT_THAT(layers, ElementsAre(1, 2, 4));
    EXPECT_EQ(done, 1.0);
    layers.clear();
    done = 0;
    options_.should_stop = [&] { return layers.size() == 2; };
    EXPECT_THROW(fit(mixed_plan("probe")), Interrupted);
    EXPECT_THAT(layers, ElementsAre(1, 2));
}

TEST_F(FitCorrections, WhatCannotBeIsRefused) {
    expect_error(ErrorKind::usage, "every layer is dense", [&] { fit(dense_plan(k_n_layers)); });
    options_.correction.rank = 65;
    expect_error(ErrorKind::usage, "rank 65: 0 to 64", [&] { fit(mixed_plan("orthogonal")); });
    options_.correction.rank = 64;
    windows_ = random_windows(1, 1);
    expect_error(ErrorKind::limit, "give more text", [&] { fit(mixed_plan("orthogonal")); });
    windows_.tokens.clear();
    expect_error(ErrorKind::limit, "no window", [&] { fit(mixed_plan("orthogonal")); });
}

// A trained model: fitted on the first half of a text, the loss on the other half is lower.
TEST(FitCorrectionsOnStories, LossOnUnseenTextIsLower) {
    const std::string folder = "models/stories260K/";
    const std::string weights = test::shared_path(folder + "stories260K.bin");
    const std::string stories = test::shared_path("data/tinystories/tinystories_val.txt");
    if (weights.empty() || stories.empty()) {
        GTEST_SKIP() << "needs " << folder << "stories260K.bin and data/tinystories in shared/";
    }
    const test::TempDir dir;
    const std::string gguf = dir.file("stories.gguf");
    const std::string command = std::string("\"") + ORTHORANK_STORIES_TO_GGUF + "\" \"" + weights +
                                "\" \"" + test::shared_path(folder + "tok512.bin") + "\" \"" +
                                gguf + "\"";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const Loaded loaded = load(gguf, 256);
    const std::string text = test::read_bytes(stories).substr(0, 40000);
    const auto windows_of = [&](const std::string &part) {
        Windows windows;
        windows.n_ctx = 256;
        add_windows(windows, loaded.model->vocab().tokenize(part, true), 24);
        return windows;
    };
    const Windows calibration = windows_of(text.substr(0, 20000));
    const Windows test_windows = windows_of(text.substr(20000));
    const Plan plain = test::select_plan(5, {2, 3}, 0.333);
    FitOptions options;
    options.correction.rank = 16;
    std::vector<Plan> plans = {plain, fit_corrections(*loaded.engine, calibration, plain, options)};
    plans.push_back(fit_corrections(*loaded.engine, calibration,
                                    test::select_plan(5, {2, 3}, 0.333, "probe"), options));
    const auto results = perplexity(*loaded.engine, test_windows, plans);
    EXPECT_LT(results[1].nll, results[0].nll - 0.02);
    EXPECT_LT(results[2].nll, results[1].nll);
}

}  // namespace
}  // namespace orthorank
