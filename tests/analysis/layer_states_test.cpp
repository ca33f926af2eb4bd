// The analysis against an independent PyTorch reading (tools/reference/make_analysis.py).
#include "analysis/layer_states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "analysis/analysis_report.h"
#include "analysis/sink.h"
#include "base/error.h"
#include "base/statistics.h"
#include "base/text_file.h"
#include "support/engine_runs.h"
#include "support/markup.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

using nlohmann::json;

constexpr double k_cosine = 1e-4;
constexpr double k_share = 1e-3;
// One row of the 33 that are chosen: two scores may be nearer than rounding.
constexpr double k_one_row = 1.0 / 33;

TextStates states_of(const Model &model, const std::vector<int32_t> &tokens, int chunk_rows = 512) {
    EngineOptions options = test_options();
    options.chunk_rows = chunk_rows;
    Engine engine(model, options);
    TextStatesOptions analysis;
    analysis.kept_positions = figure_positions();
    return text_states(engine, tokens, analysis);
}

const PolicyAgreement &agreement_of(const LayerStates &layer, const std::string &policy) {
    const auto found =
        std::find_if(layer.agreements.begin(), layer.agreements.end(),
                     [&](const PolicyAgreement &agreement) { return agreement.policy == policy; });
    if (found == layer.agreements.end()) {
        throw std::runtime_error("no agreement of " + policy);
    }
    return *found;
}

class LayerStatesReference : public testing::TestWithParam<std::string> {
 protected:
    json reference_ = json::parse(read_text_file(fixture_path("analysis-" + GetParam() + ".json")));
    std::vector<int32_t> tokens_ = reference_["tokens"].get<std::vector<int32_t>>();
    TextStates states_ = states_of(fixture_model(GetParam()), tokens_);
};

void expect_near(std::span<const double> found, const json &expected, double tolerance) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_NEAR(found[i], expected[i].get<double>(), tolerance) << i;
    }
}

TEST_P(LayerStatesReference, RowsAndAttentionOfEveryLayer) {
    ASSERT_EQ(states_.layers.size(), reference_["layers"].size());
    for (size_t il = 0; il < states_.layers.size(); ++il) {
        SCOPED_TRACE(il);
        const LayerStates &layer = states_.layers[il];
        const json &expected = reference_["layers"][il];
        expect_near(layer.sink_cosines, expected["sink_cosines"], k_cosine);
        expect_near(layer.norms, expected["norms"], k_cosine * layer.norms.front());
        expect_near(layer.sink_attention, expected["sink_attention"], k_share);
        const auto scaling = expected["scaling_cosines"].get<std::vector<double>>();
        EXPECT_NEAR(layer.sink_scaling_cosine, scaling.front(), k_cosine);
        EXPECT_NEAR(layer.mean_scaling_cosine, mean(std::span(scaling).subspan(1)), k_cosine);
        for (const auto &[name, value] :
             {std::pair("sink_peak", layer.sink_peak),
              std::pair("median_magnitude", layer.median_magnitude),
              std::pair("norm_weight_variance", layer.norm_weight_variance)}) {
            EXPECT_NEAR(value, expected[name].get<double>(), 1e-4 * (value + 1e-3)) << name;
        }
        EXPECT_NEAR(layer.gradient.cosine_gradient, expected["cosine_gradient"].get<double>(),
                    1e-2);
        EXPECT_LT(layer.gradient.largest_error, 1e-5);
    }
}

TEST_P(LayerStatesReference, RowsAcrossLayers) {
    const size_t n_layers = states_.layers.size();
    for (const auto &[position, expected] : reference_["across"].items()) {
        for (size_t il = 0; il < n_layers; ++il) {
            for (size_t other = 0; other < n_layers; ++other) {
                EXPECT_NEAR(states_.cosine_across(std::stoi(position), il, other),
                            expected[il][other].get<double>(), k_cosine);
            }
        }
    }
}

TEST_P(LayerStatesReference, PoliciesAgainstWhatLayersChange) {
    for (size_t il = 0; il < states_.layers.size(); ++il) {
        const json &expected = reference_["layers"][il]["agreements"];
        for (const auto &[policy, values] : expected.items()) {
            SCOPED_TRACE(policy);
            const PolicyAgreement &agreement = agreement_of(states_.layers[il], policy);
            EXPECT_NEAR(agreement.correlation, values["correlation"].get<double>(), 5e-3);
            EXPECT_NEAR(agreement.overlap, values["overlap"].get<double>(), k_one_row + 1e-6);
        }
        EXPECT_EQ(states_.layers[il].agreements.size(), expected.size() + 2)
            << "query and attention-output have tests of their own";
    }
}

TEST_P(LayerStatesReference, SinkLayers) {
    const SinkLayers sink = find_sink(states_);
    const json &expected = reference_["l_sink"];
    EXPECT_EQ(sink.by_cosine, expected["by_cosine"].get<int>());
    EXPECT_EQ(sink.by_activation.has_value(), !expected["by_activation"].is_null());
    EXPECT_EQ(sink.by_attention.has_value(), !expected["by_attention"].is_null());
    EXPECT_EQ(sink.l_sink(), sink.by_cosine);
}

// In blocks of rows or in one.
TEST_P(LayerStatesReference, DoNotDependOnTheBlocks) {
    const TextStates blocks = states_of(fixture_model(GetParam()), tokens_, 16);
    for (size_t il = 0; il < states_.layers.size(); ++il) {
        expect_near(blocks.layers[il].sink_attention, states_.layers[il].sink_attention, 1e-5);
        expect_near(blocks.layers[il].sink_cosines, states_.layers[il].sink_cosines, 1e-5);
    }
}

TEST_P(LayerStatesReference, EveryFigureIsDrawnWithItsData) {
    const Analysis analysis = make_analysis(states_, std::nullopt, GetParam());
    std::vector<std::string> names;
    for (const Figure &figure : analysis.figures) {
        SCOPED_TRACE(figure.name);
        names.push_back(figure.name);
        EXPECT_TRUE(is_sound_svg(figure.svg));
        EXPECT_FALSE(figure.data.rows.empty());
        for (const std::vector<std::string> &row : figure.data.rows) {
            EXPECT_EQ(row.size(), figure.data.header.size());
        }
    }
    // 101 tokens have no positions 500 and 1000.
    EXPECT_THAT(names,
                testing::ElementsAre("figure-2", "figure-10-position-0", "figure-10-position-50",
                                     "figure-11-position-0", "figure-11-position-50",
                                     "figure-2-sphere-behind-sink", "figure-2-sphere-last",
                                     "figure-3-position-0", "figure-3-position-50",
                                     "figure-9-position-100", "figure-12", "attention-on-the-sink",
                                     "policy-correlation", "policy-overlap"));
    const auto n_layers = static_cast<size_t>(fixture_model(GetParam()).hparams().n_layers);
    EXPECT_EQ(analysis.figures.front().data.rows.size(), n_layers);
    // A point for every layer and line, and a cell for every pair of layers.
    const auto marks = [&](size_t figure, const char *mark) {
        return elements_named(read_markup(analysis.figures[figure].svg), mark).size();
    };
    EXPECT_EQ(marks(0, "circle"), 10 * n_layers);
    EXPECT_GE(marks(7, "rect"), n_layers * n_layers);
    const std::string page = analysis_page(analysis, "m", "t", "c").html();
    EXPECT_EQ(elements_named(read_markup(page), "svg").size(), analysis.figures.size());
}

INSTANTIATE_TEST_SUITE_P(Models, LayerStatesReference,
                         testing::Values("tiny-llama-gqa", "tiny-qwen3"),
                         [](const auto &model) { return test_name(model.param); });

// Where the feed-forward part adds nothing, what a layer changes is what attention adds.
TEST(LayerStates, AttentionOutputIsTheWholeChangeWithoutAFeedForwardPart) {
    const TempDir dir;
    TinyFile file = make_tiny_file(tiny_llama());
    for (const char *name :
         {"blk.0.ffn_down.weight", "blk.1.ffn_down.weight", "blk.2.ffn_down.weight"}) {
        std::vector<float> &values = file.tensor(name).values;
        std::fill(values.begin(), values.end(), 0.0f);
    }
    file.write(dir.file("m.gguf"));
    const std::unique_ptr<Model> model = load_on_cpu(dir.file("m.gguf"));
    const TextStates states = states_of(*model, random_tokens(101, 3));
    for (const LayerStates &layer : states.layers) {
        EXPECT_GT(agreement_of(layer, "attention-output").correlation, 0.999);
        EXPECT_GE(agreement_of(layer, "attention-output").overlap, 1 - k_one_row - 1e-6);
        EXPECT_LT(agreement_of(layer, "attention-up").correlation, 0.9);
    }
}

// The last 32 rows are all rows of a text that short, and not of a longer one.
TEST(LayerStates, QueryIsAttentionReceivedOfAShortText) {
    const auto largest_difference = [](int n_tokens) {
        double largest = 0;
        const TextStates states =
            states_of(fixture_model("tiny-llama-gqa"), random_tokens(n_tokens, 4));
        for (const LayerStates &layer : states.layers) {
            largest = std::max(largest, std::fabs(agreement_of(layer, "query").correlation -
                                                  agreement_of(layer, "attention-up").correlation));
        }
        return largest;
    };
    EXPECT_LT(largest_difference(32), 5e-3);
    EXPECT_GT(largest_difference(101), 5e-2);
}

TEST(LayerStates, StopsWhenAsked) {
    Engine engine(fixture_model("tiny-llama-gqa"), test_options());
    TextStatesOptions options;
    options.should_stop = [] { return true; };
    EXPECT_THROW(text_states(engine, random_tokens(8, 1), options), Interrupted);
    EXPECT_EQ(engine.n_free_sequences(), 1);
}

TEST(LayerStates, BlocksOfAttentionStaySmall) {
    Hparams hparams;
    hparams.layers.resize(28);
    hparams.layers[3].n_head = 28;
    // 64 MiB / (28 heads * 1001 keys * 4 bytes)
    EXPECT_EQ(chunk_rows_for(hparams, 1001), 512);
    EXPECT_EQ(chunk_rows_for(hparams, 8192), 73);
    EXPECT_EQ(chunk_rows_for(hparams, 1 << 20), 16);
}

}  // namespace
}  // namespace orthorank::test
