// The joint search on tiny models: its divergences are those of full passes, its base depends on
// the choices alone, and it continues where it stopped.
#include "calibration/joint_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "calibration/joint_files.h"
#include "calibration/layer_times.h"
#include "calibration/partial_file.h"
#include "calibration/select_layers.h"
#include "evaluation/perplexity.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;

constexpr int k_n_ctx = 64;
constexpr int k_n_layers = 6;

LayerPlan choice(const char *text) {
    return choice_from_text(text, policy_from_name("probe"));
}

// A tiny random model and some windows of text that it has not seen.
class JointModelTest : public testing::Test {
 protected:
    JointModelTest() {
        test::TinyModel tiny = test::tiny_llama_gqa_tied();
        tiny.n_layers = k_n_layers;
        test::write_tiny_gguf(tiny, dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
        EngineOptions options;
        options.kernels = Kernels::exact;
        options.n_ctx = k_n_ctx;
        options.n_threads = 1;
        options.kv_type = KvType::f32;
        engine_ = std::make_unique<Engine>(*model_, options);
        uint32_t state = 1;
        windows_.n_ctx = k_n_ctx;
        for (int i = 0; i < 4 * k_n_ctx; ++i) {
            state = state * 1664525 + 1013904223;
            windows_.tokens.push_back(static_cast<int32_t>(3 + (state >> 16) % 285));
        }
        model_options_.choices = {choice("0.5"), choice("0.2"), choice("skip")};
        model_options_.correction.rank = 8;
        model_options_.n_kl_windows = 2;
    }

    JointModel joint_model() { return {*engine_, windows_, model_options_}; }

    JointOptions search_options(const JointModel &model, double target) const {
        JointOptions options;
        options.layers = model.layers();
        options.savings = savings_by_sparsity(model_options_.choices, k_n_layers).savings;
        options.target = target;
        return options;
    }

    // Mean divergences from the dense model, by full passes over the windows that measure.
    double divergence_of(const Plan &plan) {
        Windows measuring;
        measuring.n_ctx = k_n_ctx;
        for (size_t w : {1, 3}) {
            const auto tokens = windows_.window(w);
            measuring.tokens.insert(measuring.tokens.end(), tokens.begin(), tokens.end());
        }
        const std::vector<Plan> plans = {dense_plan(k_n_layers), plan};
        return perplexity(*engine_, measuring, plans, {}, /*with_divergence=*/true)[1]
            .divergence->mean;
    }

    test::TempDir dir_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Engine> engine_;
    Windows windows_;
    JointModelOptions model_options_;
};

double mean_of(const std::vector<float> &values) {
    double sum = 0;
    for (float value : values) {
        sum += static_cast<double>(value);
    }
    return sum / static_cast<double>(values.size());
}

double mean_divergence(JointModel &model) {
    return 0.5 * (mean_of(model.base_divergences(0)) + mean_of(model.base_divergences(1)));
}

// Between the windows of a fit too, which is then made again.
TEST_F(JointModelTest, FitsStopBetweenWindows) {
    int n_left = 1000;
    model_options_.should_stop = [&] { return --n_left < 0; };
    JointModel model = joint_model();
    n_left = 1;
    EXPECT_THROW(model.divergences(0, {2, 0}), Interrupted);
    n_left = 1000;
    EXPECT_FALSE(model.divergences(0, {2, 0}).empty());
}

TEST_F(JointModelTest, DivergencesAreThoseOfFullPasses) {
    JointModel model = joint_model();
    EXPECT_THAT(model.layers(), testing::ElementsAre(1, 2, 3, 4));
    EXPECT_NEAR(mean_divergence(model), 0.0, 1e-6);
    const JointMove first{3, 0};
    const double expected =
        0.5 * (mean_of(model.divergences(0, first)) + mean_of(model.divergences(1, first)));
    model.accept(first);
    EXPECT_NEAR(mean_divergence(model), expected, 1e-5 * expected);
    EXPECT_NEAR(divergence_of(model.base()), expected, 1e-5 * expected);
    model.accept({1, 1});
    model.accept({4, 2});
    EXPECT_NEAR(divergence_of(model.base()), mean_divergence(model), 1e-5 * expected);
    EXPECT_EQ(model.base().layers[1].ratio, 0.2);
    EXPECT_EQ(model.base().layers[4].action, Action::skip);
    EXPECT_EQ(model.base().layers[1].correction->rank, 8);
    EXPECT_NE(model.base().layers[3].probe, nullptr);
}

// Layers behind an accepted one are fitted anew, so no order is better than another.
TEST_F(JointModelTest, BaseDependsOnTheChoicesAlone) {
    const std::vector<JointMove> moves = {{3, 0}, {2, 1}, {4, 2}, {3, 1}};
    JointModel step_by_step = joint_model();
    for (const JointMove &move : moves) {
        step_by_step.accept(move);
    }
    JointModel at_once = joint_model();
    at_once.restore(moves);
    EXPECT_EQ(step_by_step.base().layers, at_once.base().layers);  // to the bit
    EXPECT_EQ(mean_divergence(step_by_step), mean_divergence(at_once));
}

TEST_F(JointModelTest, SearchReachesTheTargetAndStartsAsBruteForceDoes) {
    JointModel model = joint_model();
    JointOptions options = search_options(model, 0.3);
    const JointOrder order = search_jointly(model, options);
    EXPECT_GE(model.base().effective_sparsity(), 0.3 - 1e-9);
    EXPECT_LE(model.base().effective_sparsity(), 0.3 + 0.5 / k_n_layers);
    EXPECT_NEAR(order.rounds.back().divergence, divergence_of(model.base()), 1e-5);
    JointModel again = joint_model();
    options.brute_force = true;
    const JointOrder brute = search_jointly(again, options);
    EXPECT_EQ(order.rounds[0].move, brute.rounds[0].move);
    EXPECT_GT(brute.n_layer_evaluations, order.n_layer_evaluations);
}

// The plain greedy plan of OrthoRank, corrected afterwards on the same windows, is not better.
TEST_F(JointModelTest, NoWorseThanThePlainPlanWithCorrections) {
    LayerSelectionOptions plain;
    plain.change = choice_from_text("0.2", Policy{});
    plain.n_layers = 2;
    std::vector<JointMove> moves;
    for (const SelectionRound &round : select_layers(*engine_, windows_, plain).rounds) {
        moves.push_back({round.layer, 1});
    }
    for (LayerPlan &c : model_options_.choices) {
        c = choice_from_text(choice_text(c), Policy{});
    }
    JointModel corrected = joint_model();
    corrected.restore(moves);
    JointModel model = joint_model();
    search_jointly(model, search_options(model, corrected.base().effective_sparsity()));
    EXPECT_LE(mean_divergence(model), mean_divergence(corrected));
}

TEST_F(JointModelTest, InterruptedAndContinuedIsTheSame) {
    JointSettings settings;
    settings.choices = model_options_.choices;
    settings.target = 0.35;
    settings.n_model_layers = k_n_layers;
    settings.calibration = {{"seqlen", k_n_ctx}, {"windows", 4}, {"hash", "x"}};
    JointState state;
    state.savings = savings_by_sparsity(settings.choices, k_n_layers);
    JointModel model = joint_model();
    JointOptions options = search_options(model, settings.target);
    const JointOrder straight = search_jointly(model, options);
    const std::string path = dir_.file("plan.json.partial");
    JointModel interrupted = joint_model();
    options.on_round = [&](const JointOrder &order) {
        state.order = order;
        write_joint_partial(settings, state, path);
        throw Interrupted("interrupted");
    };
    EXPECT_THROW(search_jointly(interrupted, options), Interrupted);
    options.on_round = {};
    const std::optional<JointState> found = read_joint_partial(settings, path);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(found->order.rounds.size(), 1u);
    JointModel continued = joint_model();
    options.done = found->order;
    continued.restore(moves_of(found->order));
    const JointOrder order = search_jointly(continued, options);
    EXPECT_EQ(continued.base().layers, model.base().layers);  // to the bit
    EXPECT_EQ(order.prices, straight.prices);
    EXPECT_EQ(order.rounds.back().divergence, straight.rounds.back().divergence);
    EXPECT_GE(order.n_layer_evaluations, straight.n_layer_evaluations);
}

TEST_F(JointModelTest, PartialFilesOfOthersAreRefused) {
    JointSettings settings;
    settings.choices = model_options_.choices;
    settings.target = 0.35;
    settings.n_model_layers = 4;
    settings.calibration = {{"seqlen", k_n_ctx}, {"windows", 4}, {"hash", "x"}};
    JointState state;
    state.savings = savings_by_sparsity(settings.choices, 4);
    state.order.prices.assign(2, {0.1, 0.2, std::numeric_limits<double>::infinity()});
    state.order.rounds.push_back({{2, 1}, 0.5, 0.2, 6});
    state.order.runners_up.push_back({1, 0});
    const std::string path = dir_.file("p.partial");
    EXPECT_FALSE(read_joint_partial(settings, path).has_value());
    write_joint_partial(settings, state, path);
    const std::optional<JointState> found = read_joint_partial(settings, path);
    EXPECT_EQ(found->order.prices, state.order.prices);
    EXPECT_EQ(found->order.runners_up, state.order.runners_up);
    EXPECT_EQ(found->savings.savings, state.savings.savings);
    settings.correction.rank = 3;
    expect_error(ErrorKind::usage, "another \"rank\"", [&] { read_joint_partial(settings, path); });
    settings.correction.rank = 64;
    settings.by_time = true;
    expect_error(ErrorKind::usage, "another \"saved_time\"",
                 [&] { read_joint_partial(settings, path); });
    settings.by_time = false;
    // These were not part of the key.
    settings.device = "CUDA0";
    expect_error(ErrorKind::usage, "another \"device\"",
                 [&] { read_joint_partial(settings, path); });
    settings.device = "";
    settings.correction_type = "f32";
    expect_error(ErrorKind::usage, "another \"correction_type\"",
                 [&] { read_joint_partial(settings, path); });
    settings.correction_type = "";
    for (LayerPlan &choice : settings.choices) {
        choice.policy = policy_from_name("random");
    }
    write_joint_partial(settings, state, path);
    for (LayerPlan &choice : settings.choices) {
        choice.policy.seed = 7;
    }
    expect_error(ErrorKind::usage, "another \"seed\"", [&] { read_joint_partial(settings, path); });
    EXPECT_EQ(joint_provenance(settings, state, 0.3).at("seed"), 7);
    settings.choices = model_options_.choices;
    state.order.rounds[0].move.layer = 3;  // the last
    write_joint_partial(settings, state, path);
    expect_error(ErrorKind::format, "layer 3 cannot become 0.2 there",
                 [&] { read_joint_partial(settings, path); });
    state.order.rounds.clear();
    state.order.prices.pop_back();
    write_joint_partial(settings, state, path);
    expect_error(ErrorKind::format, "prices of another number of layers",
                 [&] { read_joint_partial(settings, path); });
}

TEST_F(JointModelTest, WhatCannotBeIsRefused) {
    model_options_.n_kl_windows = 4;
    expect_error(ErrorKind::usage, "fewer --kl-windows", [&] { joint_model(); });
    model_options_.n_kl_windows = 1;
    model_options_.memory_bytes = 100000;
    expect_error(ErrorKind::limit, "--memory is 0 MiB", [&] { joint_model(); });
    model_options_.memory_bytes = int64_t{1} << 30;
    model_options_.should_stop = [] { return true; };
    EXPECT_THROW(joint_model(), Interrupted);
}

TEST(JointChoices, AreReadStrictly) {
    const Policy policy;
    EXPECT_EQ(choice_from_text("skip", policy).action, Action::skip);
    EXPECT_EQ(choice_from_text("0.333", policy).ratio, 0.333);
    EXPECT_EQ(choice_text(choice_from_text("0.333", policy)), "0.333");
    EXPECT_EQ(choice_text(choice_from_text("skip", policy)), "skip");
    for (const char *text : {"", "1", "-0.1", "dense", "0.5x", "nan"}) {
        expect_error(ErrorKind::usage, "is no choice for a layer",
                     [&] { choice_from_text(text, policy); });
    }
}

TEST(JointSavingsOf, AreAscendingPartsOfTheWhole) {
    const std::vector<LayerPlan> choices = {choice("skip"), choice("0.5"), choice("0.2")};
    const JointSavings sparsity = savings_by_sparsity(choices, 10);
    EXPECT_THAT(sparsity.savings, testing::ElementsAre(0.05, testing::DoubleEq(0.08), 0.1));
    EXPECT_EQ(choice_text(sparsity.choices[0]), "0.5");
    // A layer of 10 ms in a prefill of 200; with ratio 0.5 it is slower.
    const JointSavings time = savings_by_time(choices, {1.0, 11.0, 4.0}, 10.0, 200.0);
    EXPECT_THAT(time.savings, testing::ElementsAre(0.03, 0.045));
    EXPECT_EQ(choice_text(time.choices[1]), "skip");
    expect_error(ErrorKind::limit, "no choice makes a layer faster", [&] {
        savings_by_time(choices, {10, 10, 10}, 10, 200);
    });
}

TEST_F(JointModelTest, LayerTimesAreOfTheChoices) {
    LayerTimeOptions options;
    options.rank = 8;
    const LayerTimes times =
        measure_layer_times(*engine_, windows_.window(0), model_options_.choices, options);
    EXPECT_EQ(times.choices_ms.size(), 3u);
    EXPECT_GT(times.prefill_ms, 0.0);
    EXPECT_GT(times.dense_ms, 0.0);
    options.keep_last = 3;
    EXPECT_GT(
        measure_layer_times(*engine_, windows_.window(0), model_options_.choices, options).dense_ms,
        0.0);
    options.should_stop = [] { return true; };
    EXPECT_THROW(measure_layer_times(*engine_, windows_.window(0), model_options_.choices, options),
                 Interrupted);
}

// What a search keeps and inherits is in the plan whose layers are timed.
TEST(LayerTimesOf, TimedPlanIsAsTheSearchHasIt) {
    LayerTimeOptions options;
    options.keep_last = 5;
    Plan expected = dense_plan(6);
    expected.keep_last = 5;
    expected.layers[2] = expected.layers[3] = choice("0.2");
    const Plan plain = timed_plan(6, 2, 4, choice("0.2"), options);
    EXPECT_EQ(plain.layers, expected.layers);
    EXPECT_EQ(plain.keep_last, 5);
    options.inherits = true;
    expected.layers[3].policy = policy_from_name("inherit");
    EXPECT_EQ(timed_plan(6, 2, 4, choice("0.2"), options).layers, expected.layers);
}

// By hand: 10 - 4 and 10 - 1 of 100 ms.
TEST(LayerTimesOf, SavedTimeIsOfTheChangedLayers) {
    const LayerTimes times = {100.0, 10.0, {4.0, 1.0}};
    EXPECT_DOUBLE_EQ(time_saved(times, std::vector<int>{-1, 0, -1, 1}), 0.15);
    EXPECT_DOUBLE_EQ(time_saved(times, std::vector<int>{-1, -1}), 0.0);
}

}  // namespace
}  // namespace orthorank
