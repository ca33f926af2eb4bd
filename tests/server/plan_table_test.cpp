// Which of the served plans a request gets: by every name that the server itself gives them.
#include "server/plan_table.h"

#include "select/sparsity.h"
#include "server/server_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;

Plan plan_called(const Model &model, const std::string &name) {
    Plan plan = select_plan(model.hparams().n_layers, {1}, 0.5);
    plan.name = name;
    return plan;
}

PlanWish wish_of_plan(const std::string &name) {
    PlanWish wish;
    wish.plan = name;
    return wish;
}

TEST(PlanTable, ASparsityThatIsNotRoundIsFoundByItsListedName) {
    const std::unique_ptr<Model> model = load_tiny(tiny_llama_gqa_tied());
    const Plan plan = plan_called(*model, "third.json");
    const std::string name = sparsity_text(1.0 / 3);
    const PlanTable table(*model, "tiny", {{name, 1.0 / 3, plan, plan}});
    PlanWish wish;
    for (const double sparsity : {1.0 / 3, sparsity_from_text(name)}) {
        wish.sparsity = sparsity;
        EXPECT_EQ(table.choose(wish).name, "third.json");
    }
    wish.sparsity = 0.334;
    EXPECT_THROW(table.choose(wish), ApiError);
}

TEST(PlanTable, AFileIsANameWhereOnePlanIsServedWithIt) {
    const std::unique_ptr<Model> model = load_tiny(tiny_llama_gqa_tied());
    const Plan twenty = plan_called(*model, "twenty.json");
    const Plan scores = plan_called(*model, "scores.json");
    const Plan shared = plan_called(*model, "shared.json");
    const PlanTable table(
        *model, "tiny",
        {{"20%", 0.2, twenty, scores}, {"30%", 0.3, shared, shared}, {"40%", 0.4, shared, shared}});
    for (const char *name : {"20%", "twenty.json", "twenty", "scores.json"}) {
        EXPECT_EQ(table.choose(wish_of_plan(name)).name, "twenty.json") << name;
    }
    EXPECT_THROW(table.choose(wish_of_plan("shared.json")), ApiError);
    EXPECT_EQ(table.choose(wish_of_plan("30%")).name, "shared.json");
}

TEST(PlanTable, TheNameThatAnAnswerGaveCanBeAskedFor) {
    const RunningServer server;
    json body = {{"prompt", "the"}, {"max_tokens", 2}, {"orthorank", {{"sparsity", "20%"}}}};
    const json given = server.complete(body)["orthorank"]["plan"];
    EXPECT_EQ(given, "twenty.json");
    body["orthorank"] = {{"plan", given}};
    EXPECT_EQ(server.complete(body)["orthorank"]["plan"], given);
}

}  // namespace
}  // namespace orthorank::test
