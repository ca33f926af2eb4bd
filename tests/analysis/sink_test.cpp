// The signals and statements on literal numbers.
#include "analysis/sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "analysis/row_orders.h"
#include "analysis/sink_report.h"

namespace orthorank::test {
namespace {

using testing::Optional;

// Five layers, 101 rows of two dimensions. From layer 2 on the first row is a sink: a massive
// activation, the others at right angles to it and then nearer from layer to layer.
TextStates sink_states() {
    TextStates states;
    states.n_tokens = 101;
    states.ratio = 0.333;
    const std::vector<double> angles = {0.1, 0.2, 1.5, 1.3, 1.0};
    for (size_t il = 0; il < angles.size(); ++il) {
        LayerStates layer;
        layer.median_magnitude = 0.1;
        layer.sink_peak = il < 2 ? 5 : 2000;
        layer.sink_cosines.assign(states.n_tokens, std::cos(angles[il]));
        layer.sink_cosines.front() = 1;
        layer.sink_attention = {il < 3 ? 0.1 : 0.5, il < 3 ? 0.2 : 0.3};
        layer.norms.assign(states.n_tokens, 1);
        layer.mean_scaling_cosine = 0.97;
        layer.gradient.inner_cosine = 0.95;
        layer.gradient.cosine_gradient = 0.5;
        states.layers.push_back(layer);
        states.kept[0].push_back({1, 0});
        for (int position : {50, 100}) {
            const double angle = angles[il] + static_cast<double>(il);
            states.kept[position].push_back(
                {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))});
        }
    }
    return states;
}

const Statement &named(const std::vector<Statement> &statements, const std::string &name) {
    for (const Statement &statement : statements) {
        if (statement.name == name) {
            return statement;
        }
    }
    throw std::runtime_error("no statement " + name);
}

TEST(Sink, TheThreeSignals) {
    TextStates states = sink_states();
    SinkLayers sink = find_sink(states);
    EXPECT_THAT(sink.by_activation, Optional(2));
    EXPECT_EQ(sink.by_cosine, 2);
    EXPECT_THAT(sink.by_attention, Optional(3));  // a mean of 0.4, before it 0.15
    EXPECT_EQ(sink.l_sink(), 2);
    states.layers.back().sink_peak = 5;  // not to the end
    sink = find_sink(states);
    EXPECT_EQ(sink.by_activation, std::nullopt);
    EXPECT_EQ(sink.l_sink(), 2);
}

TEST(Sink, AMassiveActivationIsLargeByItselfAndBesideTheOthers) {
    EXPECT_TRUE(is_massive(101, 0.1));
    EXPECT_FALSE(is_massive(101, 0.2));
    EXPECT_FALSE(is_massive(99, 0.001));
}

TEST(Sink, StatementsHoldWhereTheyDo) {
    const TextStates states = sink_states();
    const std::vector<Statement> statements = tested_statements(states, find_sink(states));
    // Behind l_sink: layers 3 and 4.
    const Statement &first = named(statements, "Observation 1");
    EXPECT_THAT(first.holds, Optional(true));
    EXPECT_DOUBLE_EQ(first.numbers[0].second, 1);
    EXPECT_NEAR(first.numbers[1].second, std::cos(1.3), 1e-12);
    EXPECT_NEAR(first.numbers[2].second, std::cos(1.0), 1e-12);
    const Statement &second = named(statements, "Observation 2");
    EXPECT_THAT(second.holds, Optional(true));
    EXPECT_NEAR(second.numbers[0].second, 1, 1e-6);
    EXPECT_NEAR(second.numbers[2].second, std::cos(0.7), 1e-6);  // 4.3 and 5
    EXPECT_THAT(named(statements, "Equation 3").holds, Optional(true));
    EXPECT_THAT(named(statements, "Equation 2").holds, Optional(false));
    EXPECT_THAT(named(statements, "Appendix C.1").holds, Optional(true));
    EXPECT_THAT(named(statements, "Attention sink").holds, Optional(true));
    // Two layers have no order.
    EXPECT_STREQ(outcome_text(named(statements, "Observation 1, by layer")), "not tested");
}

TEST(Sink, StatementsThatDoNotHold) {
    TextStates states = sink_states();
    std::swap(states.layers[3].sink_cosines, states.layers[4].sink_cosines);
    states.kept[0][4] = {-1, 0};  // the sink turned round
    states.layers[4].sink_attention = {0.1, 0.0};
    states.layers[3].sink_attention = {0.1, 0.0};
    const std::vector<Statement> statements = tested_statements(states, find_sink(states));
    for (const char *name : {"Observation 1", "Observation 2", "Attention sink"}) {
        EXPECT_STREQ(outcome_text(named(statements, name)), "does not hold") << name;
    }
}

TEST(Sink, WithoutLayersBehindItNothingIsTested) {
    TextStates states = sink_states();
    for (size_t il = 0; il < 4; ++il) {
        states.layers[il].sink_peak = 1;
    }
    const std::vector<Statement> statements = tested_statements(states, find_sink(states));
    for (const char *name : {"Observation 1", "Observation 2", "Equation 3", "Attention sink"}) {
        EXPECT_STREQ(outcome_text(named(statements, name)), "not tested") << name;
    }
    EXPECT_STRNE(outcome_text(named(statements, "Equation 1")), "not tested");
}

// Three rows against a sink along the first axis.
TEST(RowOrders, GradientIsThatOfFiniteDifferences) {
    const std::vector<float> sink = {3, 0, 0};
    EXPECT_LT(gradient_error(sink, std::vector<float>{1, 2, -1}), 1e-6);
    EXPECT_LT(gradient_error(sink, std::vector<float>{0, 1e-3f, 2e-3f}), 1e-6);
    // The same direction, as of a token that occurs again: no gradient, and no part of it.
    EXPECT_LT(gradient_error(sink, std::vector<float>{6, 0, 0}), 1e-6);
}

TEST(RowOrders, PoliciesFollowTheirScores) {
    // Rows of two dimensions behind the sink: the first grows along it, so that orthogonality
    // prefers row 1, and the layer changes row 1 most.
    const std::vector<float> rows = {10, 0, 0.1f, 1, 0.2f, 1, 0.3f, 1, 0.4f, 1, 0.5f, 1};
    const std::vector<double> changes = {99, 5, 4, 3, 2, 1};
    const std::vector<double> received = {6, 1, 2, 3, 4, 5};
    RowScores scores;
    scores.hidden = rows;
    scores.normed = rows;
    scores.received = received;
    std::map<std::string, PolicyAgreement> found;
    for (const PolicyAgreement &agreement : policy_agreements(scores, changes, 0.4)) {
        found[agreement.policy] = agreement;
    }
    EXPECT_EQ(found.count("probe") + found.count("inherit") + found.count("orthogonal-no-kv"), 0u);
    for (const char *name : {"orthogonal", "orthogonal-raw", "cosine", "norm-down"}) {
        EXPECT_DOUBLE_EQ(found.at(name).correlation, 1) << name;
        EXPECT_DOUBLE_EQ(found.at(name).overlap, 1) << name;
    }
    for (const char *name : {"orthogonal-reverse", "attention-up", "norm-up"}) {
        EXPECT_DOUBLE_EQ(found.at(name).correlation, -1) << name;
        EXPECT_DOUBLE_EQ(found.at(name).overlap, 0) << name;
    }
}

// What `info --sink` says of these states.
TEST(SinkReportTest, SaysHowConstantTheSinkIsAndWhatSpeaksAgainstIt) {
    TextStates states = sink_states();
    const std::vector<int32_t> tokens(states.n_tokens, 7);
    states.layers[4].sink_peak = 4000;
    SinkReport report = sink_report(states, tokens);
    EXPECT_EQ(report.layers.l_sink(), 2);
    EXPECT_NEAR(report.mean_cosine.value(), 1, 1e-12);
    EXPECT_NEAR(report.growth, 2, 1e-12);
    EXPECT_NEAR(report.attention, (0.15 + 0.4 + 0.4) / 3, 1e-12);
    EXPECT_THAT(report.warnings, testing::IsEmpty());

    states.kept[0][3] = {0,
                         1};  // at right angles in one layer of three: one pair of three is alike
    report = sink_report(states, tokens);
    EXPECT_NEAR(report.mean_cosine.value(), 1.0 / 3, 1e-12);
    EXPECT_NEAR(report.smallest_cosine.value(), 0, 1e-12);
    ASSERT_THAT(report.warnings, testing::SizeIs(1));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("not constant behind layer 2"));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("--policy probe"));

    states = sink_states();
    for (size_t il = 1; il < 5; ++il) {
        states.layers[il].massive_positions =
            il < 4 ? std::vector<int>{9, 40} : std::vector<int>{40};
    }
    report = sink_report(states, tokens);
    ASSERT_THAT(report.others, testing::SizeIs(2));
    EXPECT_EQ(report.others[0].position, 40);
    EXPECT_EQ(report.others[0].n_layers, 3);  // 2, 3 and 4: behind l_sink
    EXPECT_EQ(report.others[1].n_layers, 2);
    ASSERT_THAT(report.warnings, testing::SizeIs(1));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("1 other position has"));

    // Without an activation that lasts it is a sink from where it draws attention on, or none.
    states = sink_states();
    states.layers.back().sink_peak = 5;
    report = sink_report(states, tokens);
    EXPECT_EQ(report.first, 3);
    EXPECT_NEAR(report.smallest_over_median, 50, 1e-9);
    EXPECT_NEAR(report.largest_over_median, 20000, 1e-9);
    EXPECT_THAT(report.warnings, testing::IsEmpty());
    for (LayerStates &layer : states.layers) {
        layer.sink_attention = {0.1, 0.2};
    }
    report = sink_report(states, tokens);
    EXPECT_EQ(report.first, 2);
    ASSERT_THAT(report.warnings, testing::SizeIs(1));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("is no sink"));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("15% of the attention"));

    // Attention comes before the cosines' largest fall, here in the last layer, behind which there
    // is nothing to compare.
    states = sink_states();
    for (LayerStates &layer : states.layers) {
        layer.sink_peak = 5;
    }
    states.layers.back().sink_cosines.assign(states.n_tokens, -1);
    ASSERT_EQ(find_sink(states).by_cosine, 4);
    report = sink_report(states, tokens);
    EXPECT_EQ(report.first, 3);
    EXPECT_THAT(report.warnings, testing::IsEmpty());
    for (LayerStates &layer : states.layers) {
        layer.sink_attention = {0.1, 0.2};
    }
    report = sink_report(states, tokens);
    EXPECT_EQ(report.first, 4);
    EXPECT_FALSE(report.mean_cosine.has_value());
    ASSERT_THAT(report.warnings, testing::SizeIs(1));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("is no sink"));

    // So late that no layer is left.
    states.layers.back().sink_peak = 2000;
    report = sink_report(states, tokens);
    EXPECT_EQ(report.first, 4);
    ASSERT_THAT(report.warnings, testing::SizeIs(1));
    EXPECT_THAT(report.warnings[0], testing::HasSubstr("a sink in the last layer alone, layer 4"));
}

}  // namespace
}  // namespace orthorank::test
