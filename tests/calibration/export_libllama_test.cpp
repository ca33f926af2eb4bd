// Stock libllama loads an exported model and says what we say under the plan.
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <cmath>

#include "engine/engine.h"
#include "engine/plan_files.h"
#include "model/export_model.h"
#include "support/engine_runs.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

std::vector<float> libllama_logits(const std::string &path, std::vector<int32_t> tokens) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model *model = llama_model_load_from_file(path.c_str(), llama_model_default_params());
    if (model == nullptr) {
        return {};
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_threads = params.n_threads_batch = 1;
    llama_context *context = llama_init_from_model(model, params);
    std::vector<float> logits;
    if (llama_decode(context, llama_batch_get_one(tokens.data(),
                                                  static_cast<int32_t>(tokens.size()))) == 0) {
        const float *last = llama_get_logits_ith(context, -1);
        logits.assign(last, last + llama_vocab_n_tokens(llama_model_get_vocab(model)));
    }
    llama_free(context);
    llama_model_free(model);
    return logits;
}

class ExportLibllama : public testing::TestWithParam<test::TinyModel> {};

TEST_P(ExportLibllama, SmallerModelIsThePlan) {
    test::TempDir dir;
    test::TinyModel tiny = GetParam();
    tiny.n_layers = 5;
    test::write_tiny_gguf(tiny, dir.file("m.gguf"));
    export_gguf(dir.file("m.gguf"), dir.file("s.gguf"), {{1, 3}, ""});
    const std::vector<int32_t> tokens = {1, 40, 50, 60, 70, 80, 90, 100, 41, 51};
    const std::vector<float> theirs = libllama_logits(dir.file("s.gguf"), tokens);
    const auto model = Model::load(dir.file("m.gguf"));
    Plan plan = dense_plan(5);
    plan.layers[1].action = plan.layers[3].action = Action::skip;
    EngineOptions options;
    options.kernels = Kernels::exact;
    options.n_ctx = 256;
    options.n_threads = 1;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    const std::vector<float> ours = forward_last(engine, sequence, tokens, Phase::prefill);
    ASSERT_EQ(ours.size(), theirs.size());
    float scale = 0;
    float worst = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
        scale = std::max(scale, std::fabs(ours[i]));
        worst = std::max(worst, std::fabs(ours[i] - theirs[i]));
    }
    EXPECT_LT(worst, 1e-3f * scale);
}

// Numbers of corrections are arrays in the metadata: libllama passes over them.
TEST_P(ExportLibllama, LoadsAModelWithAPlanInIt) {
    test::TempDir dir;
    test::write_tiny_gguf(GetParam(), dir.file("m.gguf"));
    Plan plan = test::select_plan(GetParam().n_layers, {1}, 0.5, "probe");
    plan.layers[2].action = Action::skip;
    plan = test::completed(plan, GetParam().n_embd, 4);
    export_gguf(dir.file("m.gguf"), dir.file("e.gguf"), embedding_of(plan));
    const std::vector<int32_t> tokens = {1, 40, 50, 60};
    const std::vector<float> expected = libllama_logits(dir.file("m.gguf"), tokens);
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(libllama_logits(dir.file("e.gguf"), tokens), expected);
}

INSTANTIATE_TEST_SUITE_P(Tiny, ExportLibllama, testing::ValuesIn(test::tiny_models()),
                         [](const auto &parameter) { return parameter.param.name; });

}  // namespace
}  // namespace orthorank
