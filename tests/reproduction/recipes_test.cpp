#include "reproduction/recipes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reproduction/entries.h"
#include "support/errors.h"

namespace orthorank {
namespace {

using testing::ElementsAre;

Plan selecting(int n_layers, const std::vector<int> &layers) {
    Plan plan = dense_plan(n_layers);
    for (int il : layers) {
        plan.layers[static_cast<size_t>(il)] = selection("orthogonal");
    }
    return plan;
}

// The paper's counts: 12 of 40 layers at 20%, 6 at 10%, 8 and 4 removed.
TEST(Recipes, CountsOfThePaper) {
    const Recipes recipes(budget_from_name("paper"), 40);
    EXPECT_EQ(recipes.plan("orthorank-20").n_layers, 12);
    EXPECT_EQ(recipes.plan("orthorank-10").n_layers, 6);
    EXPECT_EQ(recipes.plan("sleb-20").n_layers, 8);
    EXPECT_EQ(recipes.plan("sleb-10").n_layers, 4);
    EXPECT_EQ(recipes.plan("sleb-50").n_layers, 20);
    EXPECT_EQ(recipes.plan("shortened-10").n_layers, 4);
    EXPECT_EQ(recipes.plan("orthorank-20-at-8192").search, "orthorank-at-8192");
    EXPECT_EQ(recipes.search("sleb-at-4096").n_tokens, 4096);
    EXPECT_TRUE(recipes.is_plus());
}

// Figure 7's grid at 40 layers, and the ratio that keeps the sparsity.
TEST(Recipes, TradeOffKeepsTheSparsity) {
    const Recipes recipes(budget_from_name("paper"), 40);
    EXPECT_EQ(recipes.tradeoff().size(), 14u);
    EXPECT_EQ(recipes.tradeoff().front(), "sleb-20");
    EXPECT_EQ(recipes.tradeoff()[4], "orthorank-20");
    EXPECT_EQ(recipes.tradeoff().back(), "trade-off-38");
    for (const std::string &name : recipes.tradeoff()) {
        const PlanRecipe &plan = recipes.plan(name);
        const LayerPlan &change = recipes.search(plan.search).change;
        const double saved = change.action == Action::skip ? 1.0 : 1.0 - change.ratio;
        EXPECT_NEAR(saved * plan.n_layers / 40, 0.2, 2e-4) << name;
    }
    EXPECT_EQ(Recipes(budget_from_name("quick"), 40).tradeoff().size(), 5u);
}

TEST(Recipes, SmallModels) {
    const Recipes recipes(budget_from_name("quick"), 3);
    EXPECT_EQ(recipes.plan("orthorank-50").n_layers, 1);
    EXPECT_FALSE(recipes.is_plus());
    test::expect_error(ErrorKind::format, "has 2 layers",
                       [] { Recipes(budget_from_name("quick"), 2); });
}

// Appendix H: 0, .061, .121, ..., .667 over 12 layers.
TEST(Recipes, SchedulesOfAppendixH) {
    std::vector<int> layers;
    for (int il = 0; il < 12; ++il) {
        layers.push_back(2 * il + 1);
    }
    PlanRecipe recipe;
    recipe.name = "rising-20";
    recipe.schedule = RatioSchedule::rising;
    const Plan rising = made_plan(recipe, selecting(25, layers));
    EXPECT_NEAR(rising.layers[1].ratio, 0, 1e-12);
    EXPECT_NEAR(rising.layers[3].ratio, 0.0606, 1e-4);
    EXPECT_NEAR(rising.layers[23].ratio, 0.6667, 1e-4);
    EXPECT_EQ(rising.name, "rising-20");
    recipe.schedule = RatioSchedule::falling;
    const Plan falling = made_plan(recipe, selecting(25, layers));
    EXPECT_NEAR(falling.layers[1].ratio, 0.6667, 1e-4);
    EXPECT_NEAR(falling.layers[23].ratio, 0, 1e-12);
    EXPECT_NEAR(rising.effective_sparsity(), falling.effective_sparsity(), 1e-12);
}

TEST(Recipes, OtherPolicyInTheSameLayers) {
    PlanRecipe recipe;
    recipe.other_policy = "norm-up";
    const Plan plan = made_plan(recipe, selecting(6, {2, 4}));
    EXPECT_THAT(plan.layers_with(Action::select), ElementsAre(2, 4));
    EXPECT_EQ(policy_name(plan.layers[2].policy), "norm-up");
    EXPECT_EQ(plan.layers[2].ratio, 0.333);
}

TEST(Budgets, FitTheModel) {
    Hparams hparams;
    hparams.n_ctx_train = 1500;
    const Budget budget = fitted_to(budget_from_name("paper"), hparams);
    EXPECT_EQ(budget.ppl_tokens, 1500);
    EXPECT_THAT(budget.calibration_lengths, ElementsAre(1500));
    const Budget quick = fitted_to(budget_from_name("quick"), hparams);
    EXPECT_THAT(quick.calibration_lengths, ElementsAre(512, 1024));
    EXPECT_EQ(n_search_windows(quick, 512), 1);
    EXPECT_EQ(n_search_windows(quick, 1024), 1);
    EXPECT_EQ(n_search_windows(budget, 1500), 0);
    const Budget standard = budget_from_name("standard");
    EXPECT_EQ(n_search_windows(standard, 2048), 2);
    EXPECT_EQ(n_search_windows(standard, 4096), 1);
    EXPECT_EQ(n_search_windows(standard, 8192), 1);
}

TEST(Entries, AreThePapersOnes) {
    std::vector<std::string> names;
    for (const Entry &entry : entries()) {
        names.push_back(entry.name);
    }
    EXPECT_THAT(names, testing::UnorderedElementsAre(
                           "table1", "table2", "table3", "table4", "table5", "table6", "table9",
                           "table10", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8",
                           "fig9", "fig10", "fig11", "fig12", "fig13", "fig14"));
    EXPECT_EQ(chosen_entries(" table8, table7,fig7,figure7 ").size(), 3u);
    test::expect_error(ErrorKind::usage, "no table or figure ''",
                       [] { chosen_entries("table2,"); });
}

}  // namespace
}  // namespace orthorank
