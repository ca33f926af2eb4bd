// What surrounds the benchmark's clock: which tokens a sequence gets, ratios, bounds, plots.
#include "tasks/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "support/engine_runs.h"
#include "support/errors.h"
#include "tasks/bounds.h"
#include "tasks/plot.h"

namespace orthorank::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<int32_t> numbered(int n) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

std::vector<int32_t> first_tokens(const BenchTokens &tokens) {
    std::vector<int32_t> first;
    for (const std::span<const int32_t> &of_sequence : tokens) {
        first.push_back(of_sequence.front());
    }
    return first;
}

TEST(BenchTokens, SequencesAreAsFarApartAsTheTextAllows) {
    const std::vector<int32_t> text = numbered(100);
    const BenchShape prefill{Phase::prefill, 20, 0, 4};
    EXPECT_EQ(first_tokens(tokens_of_sequences(text, prefill)),
              (std::vector<int32_t>{0, 20, 40, 60}));
    EXPECT_EQ(first_tokens(tokens_of_sequences(std::span(text).first(35), prefill)),
              (std::vector<int32_t>{0, 5, 10, 15}));
    const BenchShape decode{Phase::decode, 20, 30, 1};
    EXPECT_EQ(tokens_of_sequences(text, decode).front().size(), 50u);
    expect_error(ErrorKind::limit, "19 tokens, 20 are needed",
                 [&] { tokens_of_sequences(std::span(text).first(19), prefill); });
}

TEST(SpeedRatio, IsTakenRepetitionByRepetition) {
    BenchResult dense;
    BenchResult plan;
    dense.seconds = {2, 4, 9};
    plan.seconds = {1, 4, 3};
    EXPECT_EQ(speed_ratio(dense, plan).median, 2.0);
    EXPECT_EQ(speed_ratio(dense, plan).low, 1.5);
    EXPECT_EQ(speed_ratio(dense, plan).high, 2.5);
}

TEST(TimeBound, WeighsEachOperationsRestByItsTime) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const ModelShape shape = model_shape(model.hparams());
    const BenchShape prefill{Phase::prefill, 100, 0, 1};
    const Plan plan = select_plan(shape.n_layers, {1, 2}, 0.3);
    const OperationFlops dense =
        prefill_operations(shape, dense_plan(shape.n_layers), 100, HeadRows::last_read);
    const OperationFlops left = prefill_operations(shape, plan, 100, HeadRows::last_read);
    OperationTimes times;
    const auto bound = [&](const Plan &of) {
        return time_bound(model, of, prefill, 0.3, 2.0, times);
    };
    times[Operation::ffn] = 3;
    EXPECT_DOUBLE_EQ(bound(plan), dense.ffn / left.ffn);
    times[Operation::other] = 1;
    EXPECT_DOUBLE_EQ(bound(plan), 4 / (3 * left.ffn / dense.ffn + 1));
    times[Operation::norm] = 2;  // of all rows, for K and V
    EXPECT_DOUBLE_EQ(bound(plan), 6 / (3 * left.ffn / dense.ffn + 3));
    EXPECT_DOUBLE_EQ(bound(dense_plan(shape.n_layers)), 1.0);

    // In proportion to the arithmetic it is the cost model's bound, but for the scores.
    times = {};
    times[Operation::kv] = dense.kv;
    times[Operation::q_o] = dense.q_o;
    times[Operation::attention] = dense.attention;
    times[Operation::ffn] = dense.ffn;
    times[Operation::head] = dense.head;
    EXPECT_DOUBLE_EQ(bound(plan), dense.total() / (left.total() - left.score));
}

TEST(TimeBound, OfADecodeFollowsTheBytes) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const int n_layers = model.hparams().n_layers;
    OperationTimes times;
    times[Operation::ffn] = 1;
    const Plan plan = select_plan(n_layers, {1, 2, 3}, 0.3);
    // Half of the rows were computed: of one sequence half of the weights are read in these layers,
    // of two three quarters.
    for (const auto &[n_sequences, part] : {std::pair(1, 0.5), std::pair(2, 0.75)}) {
        const BenchShape decode{Phase::decode, 4, 8, n_sequences};
        EXPECT_DOUBLE_EQ(time_bound(model, plan, decode, 0.5, 2.0, times),
                         n_layers / (n_layers - 3 + 3 * part));
    }
}

TEST(Plot, LinesLeaveOutWhatIsNoNumber) {
    LinePlot plot;
    plot.title = "a < b & c";
    plot.x_ticks = {1, 10, 100};
    plot.is_log_x = true;
    plot.lines.push_back(
        {"line", {1, 10, 100}, {1, std::numeric_limits<double>::quiet_NaN(), 2}, true, 0});
    const std::string svg = line_plot_svg(plot);
    EXPECT_THAT(svg, AllOf(HasSubstr("a &lt; b &amp; c"), HasSubstr("stroke-dasharray")));
    EXPECT_THAT(svg, testing::Not(HasSubstr("nan")));
    // On a logarithmic axis 10 lies in the middle of 1 and 100, from 70 to 740.
    EXPECT_THAT(svg, HasSubstr("<text x=\"405.0\" y=\"388.0\" text-anchor=\"middle\">10</text>"));
}

TEST(Plot, BarsAreAsLongAsTheirValues) {
    BarPlot plot;
    plot.mark_names = {"bound"};
    plot.bars.push_back({"plan", 1.0, 0.9, 1.1, {2.0}, 0});
    const std::string svg = bar_plot_svg(plot);
    // 360 pixels for the largest, the mark at 2.
    EXPECT_THAT(svg, AllOf(HasSubstr("width=\"180.0\""), HasSubstr(">1.000</text>"),
                           HasSubstr("<line x1=\"690.0\" x2=\"690.0\"")));
}

}  // namespace
}  // namespace orthorank::test
