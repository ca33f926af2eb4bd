// Layer selection against itself: nothing kept, nothing dropped, interrupted and continued.
#include "calibration/select_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "calibration/layer_losses.h"
#include "calibration/selection_files.h"
#include "calibration/selection_fixture.h"
#include "evaluation/perplexity.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;
using test::layers_of;
using test::load;
using test::Loaded;
using test::removed;
using test::selecting;
using test::windows_of;
using testing::ElementsAre;

void expect_same_losses(const LayerOrder &a, const LayerOrder &b) {
    ASSERT_EQ(layers_of(a), layers_of(b));
    EXPECT_EQ(a.dense_loss, b.dense_loss);
    for (size_t i = 0; i < a.rounds.size(); ++i) {
        EXPECT_EQ(a.rounds[i].loss, b.rounds[i].loss) << i;  // to the bit
    }
}

// A tiny random model of 8 layers and some windows.
class SelectLayers : public testing::Test {
 protected:
    SelectLayers() {
        test::TinyModel tiny = test::tiny_llama_gqa_tied();
        tiny.n_layers = 8;
        test::write_tiny_gguf(tiny, dir_.file("m.gguf"));
        loaded_ = load(dir_.file("m.gguf"), 48);
        std::vector<int32_t> tokens;
        uint32_t state = 1;
        for (int i = 0; i < 4 * 48; ++i) {
            state = state * 1664525 + 1013904223;
            tokens.push_back(static_cast<int32_t>(3 + (state >> 16) % 285));
        }
        windows_ = windows_of(tokens, 48);
    }

    LayerOrder run(const LayerSelectionOptions &options) {
        return select_layers(*loaded_.engine, windows_, options);
    }

    static LayerSelectionOptions options_for(const LayerPlan &change, int n_layers) {
        LayerSelectionOptions options;
        options.change = change;
        options.n_layers = n_layers;
        return options;
    }

    test::TempDir dir_;
    Loaded loaded_;
    Windows windows_;
};

TEST_F(SelectLayers, KeepingAndDroppingChangeNothing) {
    for (const LayerPlan &change : {removed(), selecting()}) {
        LayerSelectionOptions options = options_for(change, 6);
        const LayerOrder fast = run(options);
        options.budget_bytes = 3 * 4 * 48 * 64 * 4;  // three boundaries: every third is kept
        const LayerOrder sparse = run(options);
        options.brute_force = true;
        const LayerOrder brute = run(options);
        expect_same_losses(fast, brute);
        expect_same_losses(sparse, brute);
        EXPECT_LT(fast.n_layer_evaluations, sparse.n_layer_evaluations);
        EXPECT_LT(sparse.n_layer_evaluations, brute.n_layer_evaluations);
    }
}

TEST_F(SelectLayers, SmallerLevelsArePrefixesAndBarriersStand) {
    const LayerOrder six = run(options_for(selecting(), 6));
    const LayerOrder two = run(options_for(selecting(), 2));
    ASSERT_EQ(six.rounds.size(), 6u);
    EXPECT_EQ(six.rounds[0].layer, two.rounds[0].layer);
    EXPECT_EQ(six.rounds[1].layer, two.rounds[1].layer);
    EXPECT_THAT(layers_of(six), testing::UnorderedElementsAre(1, 2, 3, 4, 5, 6));
}

// At ratio 1 all candidates are the dense model: the lowest layer wins every tie.
TEST_F(SelectLayers, TiesGoToTheLowestLayer) {
    LayerSelectionOptions options = options_for(selecting(1.0), 6);
    options.race = true;
    const LayerOrder raced = run(options);
    options.race = false;
    const LayerOrder order = run(options);
    EXPECT_THAT(layers_of(order), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(layers_of(raced), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_NEAR(order.rounds.back().loss, order.dense_loss, 1e-4 * order.dense_loss);
}

TEST_F(SelectLayers, RatioZeroIsRemoval) {
    const LayerOrder none = run(options_for(selecting(0.0), 5));
    const LayerOrder skip = run(options_for(removed(), 5));
    EXPECT_EQ(layers_of(none), layers_of(skip));
    EXPECT_NEAR(none.rounds.back().loss, skip.rounds.back().loss, 1e-5 * skip.rounds.back().loss);
}

TEST_F(SelectLayers, LossIsThatOfPerplexity) {
    const LayerOrder order = run(options_for(selecting(), 1));
    Plan plan = dense_plan(8);
    plan.layers[static_cast<size_t>(order.rounds[0].layer)] = selecting();
    const std::vector<Plan> plans = {dense_plan(8), plan};
    const auto results = perplexity(*loaded_.engine, windows_, plans);
    const auto n = static_cast<double>(windows_.size());
    EXPECT_NEAR(std::exp(order.dense_loss / n), results[0].ppl, 1e-9 * results[0].ppl);
    EXPECT_NEAR(std::exp(order.rounds[0].loss / n), results[1].ppl, 1e-9 * results[1].ppl);
}

SelectionSettings settings_for(const LayerSelectionOptions &options) {
    SelectionSettings settings;
    settings.method = options.method;
    settings.change = options.change;
    settings.plus = options.plus;
    settings.race = options.race;
    settings.fingerprint = "0123456789abcdef";
    settings.n_model_layers = 8;
    settings.calibration = {{"seqlen", 48}, {"windows", 4}, {"hash", "x"}};
    return settings;
}

TEST_F(SelectLayers, InterruptedAndContinuedIsTheSame) {
    for (const SelectionMethod method : {SelectionMethod::sleb, SelectionMethod::shortened_ppl}) {
        const bool is_sleb = method == SelectionMethod::sleb;
        LayerSelectionOptions options = options_for(selecting(), is_sleb ? 4 : 2);
        options.method = method;
        const LayerOrder straight = run(options);
        const SelectionSettings settings = settings_for(options);
        const std::string path = dir_.file("plan.json.partial");
        int n_asked = 0;
        options.on_round = [&](const LayerOrder &order) { write_partial(settings, order, path); };
        options.should_stop = [&] { return ++n_asked > (is_sleb ? 50 : 9); };
        EXPECT_THROW(run(options), Interrupted);
        options.should_stop = {};
        const std::optional<LayerOrder> done = read_partial(settings, path);
        ASSERT_TRUE(done.has_value());
        EXPECT_GE(done->rounds.size(), 1u);
        EXPECT_LT(done->rounds.size(), straight.rounds.size());
        options.done = *done;
        expect_same_losses(run(options), straight);
        remove_partial(path);
        EXPECT_FALSE(read_partial(settings, path).has_value());
    }
}

// What later rounds of a race need is in the partial file: wherever it stopped, the rest is the
// same, and takes the same work.
TEST_F(SelectLayers, InterruptedRaceContinuesWithWhatItKnew) {
    LayerSelectionOptions options = options_for(selecting(), 5);
    options.race = true;
    std::vector<LayerOrder> rounds;
    options.on_round = [&](const LayerOrder &order) { rounds.push_back(order); };
    const LayerOrder straight = run(options);
    const SelectionSettings settings = settings_for(options);
    const std::string path = dir_.file("plan.json.partial");
    options.on_round = {};
    for (size_t i = 0; i + 1 < rounds.size(); ++i) {
        write_partial(settings, rounds[i], path);
        options.done = *read_partial(settings, path);
        EXPECT_EQ(options.done.race.growths, rounds[i].race.growths);
        const LayerOrder continued = run(options);
        expect_same_losses(continued, straight);
        EXPECT_EQ(continued.race.base_losses, straight.race.base_losses);
        EXPECT_EQ(continued.race.growths, straight.race.growths);
    }
}

TEST_F(SelectLayers, PartialFilesOfRacesHaveTheirMemory) {
    LayerSelectionOptions options = options_for(selecting(), 2);
    options.race = true;
    const SelectionSettings settings = settings_for(options);
    const std::string path = dir_.file("p.partial");
    LayerOrder order;
    order.dense_loss = 20;
    order.race.base_losses = {5, 5, 5, 5};
    order.race.growths[2] = {0.25, std::numeric_limits<double>::infinity()};
    write_partial(settings, order, path);
    EXPECT_EQ(read_partial(settings, path)->race.growths, order.race.growths);
    order.race.growths[2] = {0.25, 0.25, 0.25, 0.25, 0.25};
    write_partial(settings, order, path);
    expect_error(ErrorKind::format, "on no window or on too many",
                 [&] { read_partial(settings, path); });
    order.race = {};
    write_partial(settings, order, path);
    expect_error(ErrorKind::format, "not as many losses as windows",
                 [&] { read_partial(settings, path); });
}

TEST_F(SelectLayers, PartialFilesOfOthersAreRefused) {
    LayerSelectionOptions options = options_for(selecting(), 2);
    SelectionSettings settings = settings_for(options);
    const std::string path = dir_.file("p.partial");
    write_partial(settings, LayerOrder{}, path);
    settings.change.ratio = 0.5;
    expect_error(ErrorKind::usage, "another \"ratio\"", [&] { read_partial(settings, path); });
    settings.change.ratio = 0.333;
    settings.device = "CUDA0";
    expect_error(ErrorKind::usage, "another \"device\"", [&] { read_partial(settings, path); });
    settings.device = "";
    // Those of before were measured in another order.
    settings.calibration["retrieval"] = 2;
    expect_error(ErrorKind::usage, "another \"retrieval\"", [&] { read_partial(settings, path); });
    write_partial(settings, LayerOrder{}, path);
    settings.calibration.erase("retrieval");
    expect_error(ErrorKind::usage, "another \"retrieval\"", [&] { read_partial(settings, path); });
    // An option that is gone is another search as well.
    settings.inherits = true;
    write_partial(settings, LayerOrder{}, path);
    settings.inherits = false;
    expect_error(ErrorKind::usage, "another \"inherit\"", [&] { read_partial(settings, path); });
    LayerOrder order;
    order.rounds.push_back({3, 1.0, {}, {}});
    order.rounds.push_back({3, 1.0, {}, {}});
    write_partial(settings, order, path);
    expect_error(ErrorKind::format, "layer 3 cannot be chosen",
                 [&] { read_partial(settings, path); });
    test::write_bytes(path, "{\"format\": \"orthorank-plan\", \"version\": 1}");
    expect_error(ErrorKind::format, "remove it", [&] { read_partial(settings, path); });
    test::write_bytes(path, "{");
    expect_error(ErrorKind::format, "not JSON", [&] { read_partial(settings, path); });
}

TEST_F(SelectLayers, PlanRecordsItsOrder) {
    const LayerSelectionOptions options = options_for(selecting(), 4);
    const LayerOrder order = run(options);
    const Plan plan = plan_of_order(settings_for(options), order, 4, 0.2, {});
    EXPECT_EQ(plan.layers_with(Action::select).size(), 4u);
    EXPECT_EQ(plan.provenance.at("order").size(), 4u);
    write_plan(plan, dir_.file("p.json"));
    const Plan two = plan_from_recorded_order(read_plan(dir_.file("p.json")), 2);
    EXPECT_THAT(two.layers_with(Action::select),
                testing::UnorderedElementsAre(order.rounds[0].layer, order.rounds[1].layer));
    EXPECT_EQ(two.layers[static_cast<size_t>(order.rounds[0].layer)], selecting());
    expect_error(ErrorKind::usage, "its order has 4 layers",
                 [&] { plan_from_recorded_order(plan, 5); });
    expect_error(ErrorKind::format, "records no order",
                 [&] { plan_from_recorded_order(dense_plan(8), 1); });
}

TEST_F(SelectLayers, OptionsThatCannotBeAreRefused) {
    expect_error(ErrorKind::usage, "1 to 6 can be", [&] { run(options_for(removed(), 7)); });
    expect_error(ErrorKind::usage, "not left as they are",
                 [&] { run(options_for(LayerPlan{}, 1)); });
    LayerSelectionOptions options = options_for(removed(), 1);
    options.method = SelectionMethod::shortened_ppl;
    options.race = true;
    expect_error(ErrorKind::usage, "--race", [&] { run(options); });
    windows_.tokens.clear();
    expect_error(ErrorKind::limit, "no window", [&] { run(options_for(removed(), 1)); });
}

TEST(LayerCounts, ArePaperRule) {
    const auto skip = [](double s, int n) { return n_layers_for(s, removed(), n); };
    const auto select = [](double s, int n) { return n_layers_for(s, selecting(), n); };
    EXPECT_EQ(skip(0.1, 30), 3);
    EXPECT_EQ(skip(0.2, 30), 6);
    EXPECT_EQ(select(0.1, 30), 5);  // 4.5, half up
    EXPECT_EQ(select(0.2, 30), 9);
    EXPECT_EQ(skip(0.1, 32), 3);
    EXPECT_EQ(skip(0.2, 32), 6);
    EXPECT_EQ(select(0.1, 32), 5);
    EXPECT_EQ(select(0.2, 32), 10);
    EXPECT_EQ(select(0.1, 40), 6);
    EXPECT_EQ(select(0.2, 40), 12);
    EXPECT_EQ(select(0.2, 80), 24);
    EXPECT_EQ(n_layers_for(0.2, selecting(0.5), 30), 12);
    expect_error(ErrorKind::usage, "saves nothing", [] { n_layers_for(0.2, selecting(1.0), 30); });
}

TEST(EligibleLayers, PlusAndBarriers) {
    EXPECT_THAT(eligible_layers(SelectionMethod::sleb, true, 4), ElementsAre(1, 2));
    EXPECT_THAT(eligible_layers(SelectionMethod::shortened_ppl, true, 9), ElementsAre(4, 5, 6));
    EXPECT_THAT(eligible_layers(SelectionMethod::shortened_ppl, true, 6), ElementsAre());
    EXPECT_THAT(eligible_layers(SelectionMethod::shortened_ppl, false, 3), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace orthorank
