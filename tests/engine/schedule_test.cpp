// Plans become segments: where the network is cut, as pure data.
#include "engine/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Schedule schedule_of(const std::vector<Plan> &plans, const std::vector<int> &cuts = {},
                     int first_layer = 0, int end_layer = -1, int n_with_keys = -1) {
    std::vector<const Plan *> pointers;
    for (const Plan &plan : plans) {
        pointers.push_back(&plan);
    }
    return make_schedule(pointers, first_layer,
                         end_layer < 0 ? plans.front().n_layers() : end_layer, cuts,
                         n_with_keys < 0 ? plans.front().n_layers() : n_with_keys);
}

void expect_segment(const Segment &segment, int row_layer, const std::vector<int> &dense,
                    int score_layer, int end_layer) {
    EXPECT_EQ(segment.row_layer, row_layer);
    EXPECT_EQ(segment.dense_layers, dense);
    EXPECT_EQ(segment.score_layer, score_layer);
    EXPECT_EQ(segment.end_layer, end_layer);
}

TEST(ScheduleTest, DensePlanIsOneSegment) {
    const Schedule schedule = schedule_of({dense_plan(4)});
    ASSERT_EQ(schedule.segments.size(), 1u);
    expect_segment(schedule.segments[0], -1, {0, 1, 2, 3}, -1, 4);
    EXPECT_EQ(schedule.last_layer, 3);
}

// Behind the last keys only rows that somebody reads are computed, unless a layer there picks from
// all of them.
TEST(ScheduleTest, LayersWithoutKeys) {
    const auto last_layer = [](const Plan &plan, int first_layer = 0) {
        return schedule_of({plan}, {}, first_layer, -1, 5).last_layer;
    };
    EXPECT_EQ(last_layer(dense_plan(8)), 4);
    EXPECT_EQ(last_layer(skip_plan(8, {3, 4})), 2);
    EXPECT_EQ(last_layer(skip_plan(8, {6, 7})), 4);
    EXPECT_EQ(last_layer(select_plan(8, {1, 4}, 0.5)), 4);
    EXPECT_EQ(last_layer(select_plan(8, {1, 6}, 0.5)), 6);
    EXPECT_EQ(last_layer(dense_plan(8), 6), 6);
}

TEST(ScheduleTest, EachSelectingLayerAddsASegment) {
    const Schedule schedule = schedule_of({select_plan(8, {2, 5}, 0.5)});
    ASSERT_EQ(schedule.segments.size(), 3u);
    expect_segment(schedule.segments[0], -1, {0, 1}, 2, 2);
    expect_segment(schedule.segments[1], 2, {3, 4}, 5, 5);
    expect_segment(schedule.segments[2], 5, {6, 7}, -1, 8);
    for (int n = 0; n <= 8; ++n) {
        std::vector<int> layers;
        for (int il = 0; il < n; ++il) {
            layers.push_back(il);
        }
        EXPECT_EQ(schedule_of({select_plan(8, layers, 0.5)}).segments.size(),
                  static_cast<size_t>(n) + 1);
    }
}

TEST(ScheduleTest, NeighboursAndEnds) {
    const Schedule schedule = schedule_of({select_plan(4, {0, 1, 3}, 0.5)});
    ASSERT_EQ(schedule.segments.size(), 4u);
    expect_segment(schedule.segments[0], -1, {}, 0, 0);
    expect_segment(schedule.segments[1], 0, {}, 1, 1);
    expect_segment(schedule.segments[2], 1, {2}, 3, 3);
    expect_segment(schedule.segments[3], 3, {}, -1, 4);
    EXPECT_EQ(schedule.last_layer, 3);
}

TEST(ScheduleTest, SkippedLayersAreInNoSegment) {
    Plan plan = skip_plan(6, {0, 2, 5});
    Schedule schedule = schedule_of({plan});
    ASSERT_EQ(schedule.segments.size(), 1u);
    expect_segment(schedule.segments[0], -1, {1, 3, 4}, -1, 6);
    EXPECT_EQ(schedule.last_layer, 4);

    plan.layers[3].action = Action::select;
    schedule = schedule_of({plan, plan});
    ASSERT_EQ(schedule.segments.size(), 2u);
    expect_segment(schedule.segments[0], -1, {1}, 3, 3);
    expect_segment(schedule.segments[1], 3, {4}, -1, 6);
}

TEST(ScheduleTest, EveryLayerSkipped) {
    const Schedule schedule = schedule_of({skip_plan(2, {0, 1})});
    ASSERT_EQ(schedule.segments.size(), 1u);
    expect_segment(schedule.segments[0], -1, {}, -1, 2);
    EXPECT_EQ(schedule.last_layer, -1);
}

TEST(ScheduleTest, SequencesAreCutAtTheUnionOfTheirPlans) {
    // 1: only one selects; 2: only one skips; 3: all skip; 4: select and skip.
    Plan a = select_plan(6, {1, 4}, 0.5);
    a.layers[3].action = Action::skip;
    Plan b = skip_plan(6, {2, 3, 4});
    const Schedule schedule = schedule_of({dense_plan(6), a, b});
    ASSERT_EQ(schedule.segments.size(), 5u) << "3 is dense in one plan: a row layer too";
    expect_segment(schedule.segments[0], -1, {0}, 1, 1);
    expect_segment(schedule.segments[1], 1, {}, 2, 2);
    expect_segment(schedule.segments[2], 2, {}, 3, 3);
    expect_segment(schedule.segments[3], 3, {}, 4, 4);
    expect_segment(schedule.segments[4], 4, {5}, -1, 6);

    const Schedule without_dense = schedule_of({a, b});
    ASSERT_EQ(without_dense.segments.size(), 4u);
    expect_segment(without_dense.segments[2], 2, {}, 4, 4);
}

TEST(ScheduleTest, CutsSplitDenseRuns) {
    const Schedule schedule = schedule_of({select_plan(5, {3}, 0.5)}, {3, 1, 0});
    ASSERT_EQ(schedule.segments.size(), 4u) << "a cut at a selecting layer is there already";
    expect_segment(schedule.segments[0], -1, {}, -1, 0);
    expect_segment(schedule.segments[1], -1, {0}, -1, 1);
    expect_segment(schedule.segments[2], -1, {1, 2}, 3, 3);
    expect_segment(schedule.segments[3], 3, {4}, -1, 5);
}

TEST(ScheduleTest, CutAtASkippedLayer) {
    const Schedule schedule = schedule_of({skip_plan(3, {1})}, {1, 2});
    ASSERT_EQ(schedule.segments.size(), 3u);
    expect_segment(schedule.segments[0], -1, {0}, -1, 1);
    expect_segment(schedule.segments[1], -1, {}, -1, 2);
    expect_segment(schedule.segments[2], -1, {2}, -1, 3);
}

TEST(ScheduleTest, PartOfTheNetwork) {
    const Plan plan = select_plan(8, {2, 5}, 0.5);
    Schedule schedule = schedule_of({plan}, {}, 3);
    ASSERT_EQ(schedule.segments.size(), 2u);
    expect_segment(schedule.segments[0], -1, {3, 4}, 5, 5);
    expect_segment(schedule.segments[1], 5, {6, 7}, -1, 8);

    schedule = schedule_of({plan}, {}, 0, 2);
    ASSERT_EQ(schedule.segments.size(), 1u) << "layer 2 and its scores are not run";
    expect_segment(schedule.segments[0], -1, {0, 1}, -1, 2);
    EXPECT_EQ(schedule.last_layer, 1);

    schedule = schedule_of({plan}, {}, 4, 4);
    ASSERT_EQ(schedule.segments.size(), 1u);
    EXPECT_THAT(schedule.segments[0].dense_layers, IsEmpty());
    EXPECT_EQ(schedule.segments[0].end_layer, 4);
}

}  // namespace
}  // namespace orthorank::test
