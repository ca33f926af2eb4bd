// Layer selection against the independent PyTorch search (tests/fixtures/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "calibration/select_layers.h"
#include "calibration/selection_fixture.h"
#include "graph/taylor.h"

namespace orthorank {
namespace {

using nlohmann::json;
using test::layers_of;
using test::load;
using test::Loaded;
using test::removed;
using test::selecting;
using test::windows_of;
using testing::ElementsAreArray;

const std::string k_fixtures = std::string(ORTHORANK_SOURCE_DIR) + "/tests/fixtures/";

json fixture(const std::string &model) {
    std::ifstream file(k_fixtures + "layer-selection-" + model + ".json");
    return json::parse(file);
}

Windows crops_of(const json &fixture) {
    Windows windows;
    for (const json &crop : fixture.at("crops")) {
        const auto tokens = crop.get<std::vector<int32_t>>();
        windows.n_ctx = static_cast<int>(tokens.size());
        windows.tokens.insert(windows.tokens.end(), tokens.begin(), tokens.end());
    }
    return windows;
}

class SlebFixture : public testing::TestWithParam<const char *> {};

// 1e-3: we cast F32 K and V to F16 in the flash attention kernel.
TEST_P(SlebFixture, OrderAndLossesAreTheReference) {
    const json sleb = fixture("tiny-llama-gqa").at("sleb");
    const int seqlen = sleb.at("seqlen").get<int>();
    const Loaded loaded = load(k_fixtures + "models/tiny-llama-gqa.gguf", seqlen);
    const Windows windows = windows_of(sleb.at("tokens").get<std::vector<int32_t>>(), seqlen);
    const std::string action = GetParam();
    const json &expected = sleb.at(action);
    LayerSelectionOptions options;
    options.change = action == "remove" ? removed() : selecting();
    options.n_layers = 4;
    options.brute_force = true;
    const LayerOrder order = select_layers(*loaded.engine, windows, options);
    EXPECT_THAT(layers_of(order), ElementsAreArray(expected.at("order").get<std::vector<int>>()));
    const double dense = sleb.at("dense_loss").get<double>();
    EXPECT_NEAR(order.dense_loss * seqlen, dense, 1e-3 * dense);
    ASSERT_EQ(order.rounds.size(), expected.at("rounds").size());
    for (size_t i = 0; i < order.rounds.size(); ++i) {
        const json &round = expected.at("rounds")[i];
        EXPECT_THAT(order.rounds[i].candidates,
                    ElementsAreArray(round.at("candidates").get<std::vector<int>>()));
        for (size_t c = 0; c < order.rounds[i].losses.size(); ++c) {
            const double loss = round.at("losses")[c].get<double>();
            EXPECT_NEAR(order.rounds[i].losses[c] * seqlen, loss, 1e-3 * loss);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(SelectLayers, SlebFixture, testing::Values("remove", "convert"));

class OneShotFixture : public testing::TestWithParam<const char *> {};

TEST_P(OneShotFixture, PerplexitiesAreTheReference) {
    const json data = fixture(GetParam());
    const Windows windows = crops_of(data);
    const Loaded loaded = load(k_fixtures + data.at("model").get<std::string>(), windows.n_ctx);
    for (const char *action : {"remove", "convert"}) {
        const json &expected = data.at("one_shot_ppl").at(action);
        LayerSelectionOptions options;
        options.method = SelectionMethod::shortened_ppl;
        options.change = action == std::string("remove") ? removed() : selecting();
        options.plus = false;
        options.n_layers = 1;
        const LayerOrder order = select_layers(*loaded.engine, windows, options);
        ASSERT_EQ(order.rounds.size(), expected.size());
        double last = 0;
        for (const SelectionRound &round : order.rounds) {
            const double ppl = std::exp(round.loss / static_cast<double>(windows.size()));
            const double wanted = expected[static_cast<size_t>(round.layer)].get<double>();
            EXPECT_NEAR(ppl, wanted, 5e-3 * wanted) << action << " " << round.layer;
            EXPECT_GE(round.loss, last);
            last = round.loss;
        }
    }
}

// All that there are.
const auto k_models = testing::Values("tiny-llama-gqa", "tiny-llama3-ropefreqs", "tiny-mixtral",
                                      "tiny-qwen2", "tiny-qwen3");

INSTANTIATE_TEST_SUITE_P(SelectLayers, OneShotFixture, k_models);

class TaylorFixture : public testing::TestWithParam<const char *> {};

TEST_P(TaylorFixture, ScoresAreAutogradsOfPyTorch) {
    const json data = fixture(GetParam());
    const Windows windows = crops_of(data);
    const auto model = Model::load(k_fixtures + data.at("model").get<std::string>());
    const TaylorScores taylor = taylor_scores(*model, windows.tokens, windows.n_ctx, 1);
    const json &expected = data.at("taylor");
    EXPECT_NEAR(taylor.loss, expected.at("loss").get<double>(), 1e-5 * taylor.loss);
    ASSERT_EQ(taylor.scores.size(), expected.at("layers").size());
    for (const json &layer : expected.at("layers")) {
        const double score = layer.at("score").get<double>();
        EXPECT_NEAR(taylor.scores[layer.at("index").get<size_t>()], score, 1e-4 * score);
    }
}

INSTANTIATE_TEST_SUITE_P(SelectLayers, TaylorFixture, k_models);

}  // namespace
}  // namespace orthorank
