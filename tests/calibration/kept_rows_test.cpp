// What a plan's provenance says of the rows that it keeps: the number it was found with, the number
// that it has, and costs of this plan alone.
#include "calibration/kept_rows.h"

#include <gtest/gtest.h>

#include "calibration/joint_files.h"
#include "calibration/selection_files.h"

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

}  // namespace
}  // namespace orthorank
