// Plans found by sparsity, and exported models: stock libllama and we agree about a smaller model.
#include "engine/shipped_plans.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "engine/engine.h"
#include "engine/plan_files.h"
#include "model/export_model.h"
#include "model/gguf_file.h"
#include "select/plan_text.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;

std::vector<float> logits_of(const Model &model, const Plan &plan) {
    EngineOptions options;
    options.kernels = Kernels::exact;
    options.n_ctx = 64;
    options.n_threads = 1;
    Engine engine(model, options);
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    const std::vector<int32_t> tokens = {1, 40, 50, 60, 70, 80, 90, 100, 41, 51};
    return forward_last(engine, sequence, tokens, Phase::prefill);
}

Plan removing(const Model &model, const std::vector<int> &layers) {
    Plan plan = dense_plan(model.hparams().n_layers);
    plan.fingerprint = model.fingerprint();
    for (int il : layers) {
        plan.layers[static_cast<size_t>(il)].action = Action::skip;
    }
    return plan;
}

class Export : public testing::TestWithParam<test::TinyModel> {};

TEST_P(Export, SmallerModelIsThePlan) {
    test::TempDir dir;
    test::TinyModel tiny = GetParam();
    tiny.n_layers = 5;
    test::write_tiny_gguf(tiny, dir.file("m.gguf"));
    const auto model = Model::load(dir.file("m.gguf"));
    export_gguf(dir.file("m.gguf"), dir.file("s.gguf"), {{1, 3}, ""});
    const auto smaller = Model::load(dir.file("s.gguf"));
    EXPECT_EQ(smaller->hparams().n_layers, 3);
    EXPECT_EQ(logits_of(*model, removing(*model, {1, 3})), logits_of(*smaller, dense_plan(3)));
}

INSTANTIATE_TEST_SUITE_P(Tiny, Export, testing::ValuesIn(test::tiny_models()),
                         [](const auto &parameter) { return parameter.param.name; });

TEST(Export, PerLayerArraysAreCut) {
    test::TempDir dir;
    test::TinyModel tiny = test::tiny_llama();
    test::TinyFile file = test::make_tiny_file(tiny);
    const std::vector<int32_t> heads = {4, 4, 4};
    gguf_set_arr_data(file.meta.get(), "llama.attention.head_count", GGUF_TYPE_INT32, heads.data(),
                      3);
    file.write(dir.file("m.gguf"));
    export_gguf(dir.file("m.gguf"), dir.file("s.gguf"), {{0}, ""});
    const GgufFile out(dir.file("s.gguf"));
    EXPECT_THAT(out.integers("llama.attention.head_count", 2, 1, 8), testing::ElementsAre(4, 4));
    EXPECT_EQ(out.integer("llama.block_count", 1, 9), 2);
    EXPECT_NE(out.find_tensor("blk.1.attn_q.weight"), nullptr);
    EXPECT_EQ(out.find_tensor("blk.2.attn_q.weight"), nullptr);
}

// Layers that differ, in arrays that are longer than there are layers: entries of the removed
// layers go, those behind the last layer stay, and an array that is not by layer is not touched.
TEST(Export, ArraysLongerThanTheLayersWereCutWrongly) {
    test::TempDir dir;
    test::TinyModel tiny = test::tiny_llama();
    tiny.n_layers = 5;
    test::TinyFile file = test::make_uneven_file(tiny, 2);
    const std::vector<int32_t> sections = {7, 8, 9, 10, 11};
    gguf_set_arr_data(file.meta.get(), "llama.rope.dimension_sections", GGUF_TYPE_INT32,
                      sections.data(), sections.size());
    file.write(dir.file("m.gguf"));
    const auto model = Model::load(dir.file("m.gguf"));
    export_gguf(dir.file("m.gguf"), dir.file("s.gguf"), {{0, 3}, ""});
    const auto smaller = Model::load(dir.file("s.gguf"));
    EXPECT_EQ(logits_of(*model, removing(*model, {0, 3})), logits_of(*smaller, dense_plan(3)));
    const GgufFile out(dir.file("s.gguf"));
    EXPECT_THAT(out.integers("llama.feed_forward_length", 5, 1, 999),
                testing::ElementsAre(128, 64, 64, 128, 64));
    EXPECT_THAT(out.integers("llama.rope.dimension_sections", 5, 0, 99),
                testing::ElementsAre(7, 8, 9, 10, 11));
}

// Heads without a width in the file are n_embd / heads of the first layer wide: when that layer
// goes, the file says the width.
TEST(Export, RemovingTheFirstLayerKeepsTheHeadsWidth) {
    test::TempDir dir;
    test::TinyFile file = test::make_tiny_file(test::tiny_llama());
    const std::vector<int32_t> heads = {4, 8, 8};
    for (const char *key : {"llama.attention.head_count", "llama.attention.head_count_kv"}) {
        gguf_set_arr_data(file.meta.get(), key, GGUF_TYPE_INT32, heads.data(), heads.size());
    }
    for (const char *layer : {"blk.1.", "blk.2."}) {
        for (const char *name : {"attn_q.weight", "attn_k.weight", "attn_v.weight"}) {
            file.tensor(std::string(layer) + name).ne = {64, 128};
        }
        file.tensor(std::string(layer) + "attn_output.weight").ne = {128, 64};
    }
    file.write(dir.file("m.gguf"));
    const auto model = Model::load(dir.file("m.gguf"));
    ASSERT_EQ(model->hparams().layers[0].head_dim, 16);
    export_gguf(dir.file("m.gguf"), dir.file("s.gguf"), {{0}, ""});
    const auto smaller = Model::load(dir.file("s.gguf"));
    EXPECT_EQ(logits_of(*model, removing(*model, {0})), logits_of(*smaller, dense_plan(2)));
}

TEST(Export, ErrorsNameTheFile) {
    test::TempDir dir;
    test::write_tiny_gguf(test::tiny_llama(), dir.file("m.gguf"));
    expect_error(ErrorKind::file, "cannot be written", [&] {
        export_gguf(dir.file("m.gguf"), dir.file("no/s.gguf"), {{0}, ""});
    });
    expect_error(ErrorKind::usage, "is a GGUF file, which is not replaced", [&] {
        export_gguf(dir.file("m.gguf"), dir.file("m.gguf"), {{0}, ""});
    });
    expect_error(ErrorKind::file, "cannot open", [&] {
        export_gguf(dir.file("x.gguf"), dir.file("s.gguf"), {{0}, ""});
    });
}

TEST(Export, EndedHalfwayLeavesNothingBehind) {
    const test::TempDir dir;
    test::write_tiny_gguf(test::tiny_llama(), dir.file("m.gguf"));
    std::filesystem::create_directory(dir.file("out"));
    int n_parts = 0;
    const auto stop = [&n_parts] {
        if (++n_parts == 3) {
            throw Interrupted("now");
        }
    };
    EXPECT_THROW(export_gguf(dir.file("m.gguf"), dir.file("out/s.gguf"), {{0}, ""}, stop),
                 Interrupted);
    EXPECT_TRUE(std::filesystem::is_empty(dir.file("out")));
}

class ShippedPlans : public testing::Test {
 protected:
    ShippedPlans() {
        test::TinyModel tiny = test::tiny_llama();
        tiny.n_layers = 10;
        test::write_tiny_gguf(tiny, dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
    }

    test::TempDir dir_;
    std::unique_ptr<Model> model_;
};

TEST_F(ShippedPlans, BestFitIsTaken) {
    expect_error(ErrorKind::usage, "select-layers",
                 [&] { plan_for_sparsity(*model_, 0.2, dir_.path().string()); });
    Plan skip = removing(*model_, {3, 4});
    skip.provenance = {{"method", "sleb"}, {"file_type", "Q8_0"}};
    write_plan(skip, dir_.file("a.json"));
    const FoundPlan found = plan_for_sparsity(*model_, 0.2, dir_.path().string());
    EXPECT_EQ(found.plan.layers, skip.layers);
    ASSERT_THAT(found.notes, testing::SizeIs(1));
    EXPECT_THAT(found.notes[0], testing::HasSubstr("calibrated on Q8_0 weights, this file has"));
    Plan select = dense_plan(10);
    select.fingerprint = model_->fingerprint();
    for (int il : {2, 3, 5}) {
        select.layers[static_cast<size_t>(il)].action = Action::select;
        select.layers[static_cast<size_t>(il)].ratio = 0.333;
    }
    select.provenance = {{"method", "sleb"}, {"sparsity", 0.2}};
    write_plan(select, dir_.file("b.json"));
    EXPECT_EQ(plan_for_sparsity(*model_, 0.2, dir_.path().string()).plan.layers, select.layers);
    EXPECT_THAT(plan_for_sparsity(*model_, 0.2, dir_.path().string()).notes, testing::IsEmpty());
    expect_error(ErrorKind::usage, "only of 20%",
                 [&] { plan_for_sparsity(*model_, 0.4, dir_.path().string()); });
    const Plan corrected = test::completed(select, model_->hparams().n_embd, 2);
    write_plan_files(corrected, dir_.file("c.json"), CorrectionType::f32);
    EXPECT_EQ(plan_for_sparsity(*model_, 0.2, dir_.path().string()).plan.layers, corrected.layers);
    Plan joint = select;
    joint.layers[5].ratio = 0.5;
    joint.provenance["method"] = "joint";
    joint = test::completed(joint, model_->hparams().n_embd, 2);
    write_plan_files(joint, dir_.file("d.json"), CorrectionType::f32);
    EXPECT_EQ(plan_for_sparsity(*model_, 0.2, dir_.path().string()).plan.layers, joint.layers);
    std::filesystem::remove(dir_.file("c.json"));
    std::filesystem::remove(dir_.file("d.json"));
    select.fingerprint = "of another";
    write_plan(select, dir_.file("b.json"));
    EXPECT_EQ(plan_for_sparsity(*model_, 0.2, dir_.path().string()).plan.layers, skip.layers);
}

TEST_F(ShippedPlans, SmallestLossForThePurposeIsTaken) {
    const auto write = [&](const std::string &name, int layer, Apply apply,
                           std::vector<PlanLoss> losses) {
        Plan plan = removing(*model_, {layer, 8});
        plan.apply = apply;
        plan.losses = std::move(losses);
        write_plan(plan, dir_.file(name));
    };
    const auto found = [&](PlanPurpose purpose) {
        return plan_for_sparsity(*model_, 0.2, dir_.path().string(), purpose).plan.name;
    };
    const PlanLoss low{"w", 2, 16, 4, 1.1, 0.01, "", "", ""};
    const PlanLoss high{"w", 2, 16, 4, 1.2, 0.01, "", "", ""};
    PlanLoss of_all = high;
    of_all.n_continuation = 0;
    write("a.json", 1, Apply::both, {low});
    EXPECT_EQ(found(PlanPurpose::prompt), "a.json");
    write("b.json", 2, Apply::prefill, {high});
    EXPECT_EQ(found(PlanPurpose::prompt), "b.json") << "made for it";
    EXPECT_EQ(found(PlanPurpose::every_row), "a.json");
    write("c.json", 3, Apply::prefill, {high, low});
    EXPECT_EQ(found(PlanPurpose::prompt), "c.json") << "the mean of the texts";
    write("d.json", 4, Apply::prefill, {});
    EXPECT_EQ(found(PlanPurpose::prompt), "c.json") << "measured before not measured";
    write("e.json", 5, Apply::both, {of_all});
    EXPECT_EQ(found(PlanPurpose::every_row), "e.json") << "a's loss is of prompts";
}

// A plan of the first rounds that reach 29% saves 30%: made for one, of the other in effect.
TEST_F(ShippedPlans, EffectiveSparsityIsFoundWherePlansWereMadeForAnother) {
    const auto found = [&](double sparsity) {
        return plan_for_sparsity(*model_, sparsity, dir_.path().string()).plan.name;
    };
    Plan plan = removing(*model_, {3, 4, 5});
    plan.provenance = {{"sparsity", 0.28}};
    write_plan(plan, dir_.file("a.json"));
    EXPECT_EQ(found(0.28), "a.json");
    EXPECT_EQ(found(0.3), "a.json");
    EXPECT_EQ(found(0.31), "a.json");
    expect_error(ErrorKind::usage, "no plan of 32% for this model", [&] { found(0.32); });
    expect_error(ErrorKind::usage, "only of 28%", [&] { found(0.29 - 0.006); });
    // One that was made for it comes first, though it ranks behind the other.
    Plan measured = plan;
    measured.losses = {{"w", 2, 16, 0, 1.1, 0.01, "", "", ""}};
    write_plan(measured, dir_.file("a.json"));
    plan.provenance = {{"sparsity", 0.3}};
    write_plan(plan, dir_.file("b.json"));
    EXPECT_EQ(found(0.3), "b.json");
    EXPECT_EQ(found(0.28), "a.json");
    // The purpose comes before that.
    const auto found_for_prompts = [&] {
        return plan_for_sparsity(*model_, 0.3, dir_.path().string(), PlanPurpose::prompt).plan.name;
    };
    EXPECT_EQ(found_for_prompts(), "b.json");
    Plan for_prompts = removing(*model_, {2, 4, 5});
    for_prompts.apply = Apply::prefill;
    for_prompts.provenance = {{"sparsity", 0.29}};
    write_plan(for_prompts, dir_.file("p.json"));
    EXPECT_EQ(found_for_prompts(), "p.json");
    EXPECT_EQ(found(0.3), "b.json");
    std::filesystem::remove(dir_.file("p.json"));
    // What is no number says nothing: to 1.5 points of the effective one.
    plan.provenance = {{"sparsity", "much"}};
    write_plan(plan, dir_.file("b.json"));
    std::filesystem::remove(dir_.file("a.json"));
    EXPECT_EQ(found(0.31), "b.json");
}

TEST(PlansOfTheDefaultModel, AreForPromptsOrForEveryRow) {
    if (!test::has_default_model()) {
        GTEST_SKIP() << "no default model at " << test::default_model_path();
    }
    const auto model = Model::load(test::default_model_path(), {});
    const std::string plans = std::string(ORTHORANK_SOURCE_DIR) + "/plans";
    for (const int percent : {20, 30, 40, 50}) {
        EXPECT_EQ(plan_for_sparsity(*model, percent / 100.0, plans, PlanPurpose::prompt).plan.name,
                  fmt::format("smollm2-135m-instruct-prompt-{}.json", percent));
    }
    for (const int percent : {10, 20, 30}) {
        EXPECT_EQ(plan_for_sparsity(*model, percent / 100.0, plans).plan.name,
                  fmt::format("smollm2-135m-instruct-joint-{}.json", percent));
    }
}

// One bad file in the folder made every --sparsity fail, and every plan's numbers were read.
TEST_F(ShippedPlans, BadFileAmongOthersIsLeftOut) {
    Plan skip = removing(*model_, {3, 4});
    write_plan(skip, dir_.file("m.json"));
    test::write_bytes(dir_.file("a.json"), "not a plan");
    // A plan of another level whose numbers are gone.
    const Plan other = test::completed(removing(*model_, {3, 4, 5}), model_->hparams().n_embd, 2);
    write_plan_files(other, dir_.file("z.json"), CorrectionType::f32);
    test::write_bytes(dir_.file("z.gguf"), "nothing");
    const FoundPlan found = plan_for_sparsity(*model_, 0.2, dir_.path().string());
    EXPECT_EQ(found.plan.layers, skip.layers);
    ASSERT_THAT(found.notes, testing::SizeIs(1));
    EXPECT_THAT(found.notes[0], testing::AllOf(testing::StartsWith("left out: "),
                                               testing::HasSubstr("a.json: not JSON")));
    expect_error(ErrorKind::format, "z.gguf",
                 [&] { plan_for_sparsity(*model_, 0.3, dir_.path().string()); });
    expect_error(ErrorKind::usage,
                 "; left out: ", [&] { plan_for_sparsity(*model_, 0.5, dir_.path().string()); });
}

TEST_F(ShippedPlans, EmbeddedPlanIsFound) {
    EXPECT_FALSE(embedded_plan(*model_).has_value());
    Plan plan = removing(*model_, {7});
    plan.provenance = {{"sparsity", 0.1}};
    export_gguf(model_->path(), dir_.file("e.gguf"), {{}, plan_text(plan_to_json(plan))});
    const auto embedded = Model::load(dir_.file("e.gguf"));
    EXPECT_EQ(embedded->fingerprint(), model_->fingerprint());
    EXPECT_EQ(plan_for_sparsity(*embedded, 0.1, dir_.path().string()).plan.layers, plan.layers);
    EXPECT_EQ(logits_of(*embedded, plan), logits_of(*model_, plan));
    export_gguf(dir_.file("e.gguf"), dir_.file("s.gguf"), {{7}, ""});
    EXPECT_FALSE(embedded_plan(*Model::load(dir_.file("s.gguf"))).has_value());
}

}  // namespace
}  // namespace orthorank
