// Engines on weights in other types than the file's: nothing changes with "file" or with the type
// that the file has, other types stay near, and each phase multiplies with its own copy.
#include <gtest/gtest.h>

#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

struct Answers {
    Logits prefill;
    Logits steps;  // from an empty context, so that the prefill's keys and values play no part
};

class WeightCopies : public testing::Test {
 protected:
    void write(const TinyModel &model) { write_tiny_gguf(model, path_); }

    Answers answers(const ModelOptions &options, const Plan *plan = nullptr) {
        const auto model = Model::load(path_, options);
        Engine engine(*model, test_options());
        const Plan dense = dense_plan(model->hparams().n_layers);
        const auto tokens = random_tokens(40, 5);
        Answers found;
        Sequence sequence = engine.new_sequence(plan != nullptr ? *plan : dense);
        found.prefill = run(engine, sequence, tokens);
        sequence.clear();
        found.steps = run_steps(engine, sequence, std::span(tokens).first(12));
        return found;
    }
    Answers answers_with(const std::string &weights, const Plan *plan = nullptr) {
        ModelOptions options;
        options.device = "CPU";
        options.weights = weight_types_from_text(weights);
        return answers(options, plan);
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
};

TEST_F(WeightCopies, FileChangesNothing) {
    write(tiny_llama());
    ModelOptions options;
    options.device = "CPU";
    const Answers expected = answers(options);
    const Answers found = answers_with("file");
    EXPECT_TRUE(same_bits(found.prefill, expected.prefill));
    EXPECT_TRUE(same_bits(found.steps, expected.steps));
}

TEST_F(WeightCopies, TheFilesOwnTypeChangesNothing) {
    for (const ggml_type type : {GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0}) {
        TinyModel tiny = tiny_llama();
        tiny.weight_type = type;
        write(tiny);
        const Answers expected = answers_with("file");
        const Answers found = answers_with(ggml_type_name(type));
        EXPECT_TRUE(same_bits(found.prefill, expected.prefill)) << ggml_type_name(type);
        EXPECT_TRUE(same_bits(found.steps, expected.steps)) << ggml_type_name(type);
    }
}

TEST_F(WeightCopies, ConvertedWeightsStayNear) {
    for (const TinyModel &tiny : tiny_models()) {
        write(tiny);
        const Answers expected = answers_with("file");
        const std::pair<const char *, double> limits[] = {
            {"f16", 1e-4}, {"bf16", 1e-3}, {"q8_0", 5e-3}};
        for (const auto &[type, limit] : limits) {
            SCOPED_TRACE(testing::Message() << tiny.name << " as " << type);
            const Answers found = answers_with(type);
            EXPECT_TRUE(nmse_below(limit, found.prefill, expected.prefill));
            EXPECT_TRUE(nmse_below(limit, found.steps, expected.steps));
            EXPECT_GT(nmse(found.prefill, expected.prefill), 0.0);
        }
    }
}

TEST_F(WeightCopies, EachPhaseHasItsOwn) {
    for (const TinyModel &tiny : {tiny_llama_gqa_tied(), tiny_mixtral()}) {
        SCOPED_TRACE(tiny.name);
        write(tiny);
        const Plan plan = select_plan(tiny.n_layers, {1}, 0.5);
        const Answers bf16 = answers_with("bf16", &plan);
        const Answers q8_0 = answers_with("q8_0", &plan);
        const Answers both = answers_with("prefill=bf16,decode=q8_0", &plan);
        EXPECT_TRUE(same_bits(both.prefill, bf16.prefill));
        EXPECT_TRUE(same_bits(both.steps, q8_0.steps));
        EXPECT_GT(nmse(bf16.steps, q8_0.steps), 0.0);
    }
}

}  // namespace
}  // namespace orthorank::test
