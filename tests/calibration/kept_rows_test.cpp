// What a plan's provenance says of the rows that it keeps: the number it was found with, the number
// that it has, and costs of this plan alone.
#include "calibration/kept_rows.h"

#include <gtest/gtest.h>

#include "calibration/joint_files.h"
#include "calibration/selection_files.h"
#include "support/errors.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

Plan found_with(int keep_last) {
    Plan plan = dense_plan(4);
    plan.keep_last = keep_last;
    plan.layers[1] = {Action::select, 0.25, policy_from_name("orthogonal")};
    plan.provenance = {{"method", "shortened-ppl"},
                       {"convert", "select"},
                       {"ratio", 0.25},
                       {"policy", "orthogonal"},
                       {"keep_last", keep_last},
                       {"plan_loss", 3.0},
                       {"order", Json::array({{{"layer", 1}}, {{"layer", 2}}})}};
    return plan;
}

TEST(KeptRowsOfPlans, CheapestIsKeptBesideTheNumberOfTheSearch) {
    Plan plan = found_with(2);
    keep_cheapest(plan, {{2, 3.0}, {8, 2.5}, {4, 2.5}});
    EXPECT_EQ(plan.keep_last, 4) << "the fewest of those that cost least";
    EXPECT_EQ(plan.provenance["keep_last"], 4);
    EXPECT_EQ(plan.provenance["searched_keep_last"], 2);
    EXPECT_EQ(plan.provenance["plan_loss"], 2.5) << "of the plan that is written";
    EXPECT_EQ(plan.provenance["keep_last_choices"].size(), 3u);
    Plan same = found_with(2);
    keep_cheapest(same, {{2, 1.0}, {8, 2.5}});
    EXPECT_EQ(same.provenance["searched_keep_last"], 2);
    EXPECT_EQ(same.provenance["keep_last"], 2);
}

TEST(KeptRowsOfPlans, OtherNumbersLeaveThatOfTheSearch) {
    Plan plan = found_with(2);
    keep_other_rows(plan, 2);
    EXPECT_FALSE(plan.provenance.contains("searched_keep_last"));
    keep_other_rows(plan, 8);
    keep_other_rows(plan, 16);
    EXPECT_EQ(plan.keep_last, 16);
    EXPECT_EQ(plan.provenance["keep_last"], 16);
    EXPECT_EQ(plan.provenance["searched_keep_last"], 2);
    Plan by_hand = dense_plan(4);
    keep_other_rows(by_hand, 8);
    forget_costs(by_hand);
    EXPECT_EQ(by_hand.keep_last, 8);
    EXPECT_TRUE(by_hand.provenance.is_null());
}

// They were those of a plan with other layers.
TEST(KeptRowsOfPlans, CostsAreNotHandedOn) {
    Plan plan = found_with(2);
    keep_cheapest(plan, {{2, 3.0}, {8, 2.5}});
    const Plan two = plan_from_recorded_order(plan, 2);
    EXPECT_EQ(two.keep_last, 8);
    EXPECT_EQ(two.provenance["searched_keep_last"], 2);
    EXPECT_FALSE(two.provenance.contains("keep_last_choices"));
    EXPECT_FALSE(two.provenance.contains("plan_loss"));
    plan.provenance["method"] = "joint";
    plan.provenance["rounds"] = Json::parse(R"([{"layer": 2, "choice": "0.2"}])");
    const Plan joint = plan_from_recorded_rounds(plan, 0.2);
    EXPECT_EQ(joint.layers[2].ratio, 0.2);
    EXPECT_FALSE(joint.provenance.contains("keep_last_choices"));
}

// A plan of a joint search with inherited rows that is cut: the rows of its first selecting layer
// are those of all, and they may be more.
TEST(KeptRowsOfPlans, SmallerPlansReachTheSparsityWithInheritedRows) {
    Plan plan = dense_plan(4);
    plan.provenance = {{"method", "joint"},
                       {"policy", "orthogonal"},
                       {"inherit", true},
                       {"saved_time", 0.3},
                       {"timed_rows", 32}};
    plan.provenance["rounds"] = Json::parse(R"([{"layer": 2, "choice": "0.2"},
                                                {"layer": 1, "choice": "0.5"},
                                                {"layer": 1, "choice": "0.2"}])");
    // 0.8 / 4 after the first, then 2 x 0.5 / 4, then 2 x 0.8 / 4.
    const Plan found = plan_from_recorded_rounds(plan, 0.3);
    EXPECT_DOUBLE_EQ(found.effective_sparsity(), 0.4);
    EXPECT_EQ(found.layers[2].policy, policy_from_name("inherit"));
    EXPECT_EQ(found.provenance["effective_sparsity"], found.effective_sparsity());
    EXPECT_FALSE(found.provenance.contains("saved_time"));
    EXPECT_FALSE(found.provenance.contains("timed_rows"));
    plan.provenance["rounds"].erase(2);
    test::expect_error(ErrorKind::usage, "its search saved 25.0%, 30.0% was asked for",
                       [&] { plan_from_recorded_rounds(plan, 0.3); });
}

}  // namespace
}  // namespace orthorank
