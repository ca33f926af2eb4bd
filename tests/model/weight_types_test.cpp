// What matrices are held in: names, refusals, and how far converted weights are from the file's.
#include <ggml.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/model.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

TEST(WeightTypes, AreReadFromText) {
    EXPECT_EQ(weight_types_from_text("file"), WeightTypes{});
    EXPECT_EQ(weight_types_from_text("BF16"), (WeightTypes{"bf16", "bf16"}));
    EXPECT_EQ(weight_types_from_text("q4_K"), (WeightTypes{"q4_k", "q4_k"}));
    EXPECT_EQ(weight_types_from_text("prefill=bf16"), (WeightTypes{"bf16", "file"}));
    EXPECT_EQ(weight_types_from_text("decode=q4_0"), (WeightTypes{"file", "q4_0"}));
    EXPECT_EQ(weight_types_from_text("prefill=bf16,decode=q8_0"), (WeightTypes{"bf16", "q8_0"}));
    EXPECT_TRUE(weight_types_from_text("auto").is_auto());
    EXPECT_EQ(weight_types_from_text("bf16").text(), "bf16");
    EXPECT_EQ(weight_types_from_text("prefill=bf16").text(), "prefill=bf16,decode=file");
}

TEST(WeightTypes, UnknownOnesAreRefusedWithTheKnownOnes) {
    for (const char *text : {"q9", "", "prefill=q9", "prefill=auto", "prefill=", "IQ1_S"}) {
        expect_error(ErrorKind::usage, "file, f32, f16, bf16, q8_0",
                     [&] { weight_types_from_text(text); });
    }
    for (const char *text : {"encode=bf16", "prefill=bf16,", "=bf16", "prefill=bf16,q8_0"}) {
        expect_error(ErrorKind::usage, "prefill=TYPE,decode=TYPE",
                     [&] { weight_types_from_text(text); });
    }
}

class HeldWeights : public testing::Test {
 protected:
    std::unique_ptr<Model> load(const TinyModel &model, const std::string &types) {
        const std::string path = dir_.file("m.gguf");
        write_tiny_gguf(model, path);
        ModelOptions options;
        options.device = "CPU";
        options.repack = false;
        options.weights = weight_types_from_text(types);
        return Model::load(path, options);
    }
    TempDir dir_;
};

TEST_F(HeldWeights, OnlyMatricesAreConverted) {
    for (const TinyModel &tiny : tiny_models()) {
        SCOPED_TRACE(tiny.name);
        const auto model = load(tiny, "bf16");
        const Weights &w = model->weights();
        const LayerWeights &l = w.layers[1];
        EXPECT_EQ(w.token_embd->type, GGML_TYPE_F32);  // rows are read from it
        EXPECT_EQ(w.output->type, GGML_TYPE_BF16);
        EXPECT_EQ(w.output_norm->type, GGML_TYPE_F32);
        EXPECT_EQ(l.attn_q->type, GGML_TYPE_BF16);
        EXPECT_EQ(l.attn_output->type, GGML_TYPE_BF16);
        EXPECT_EQ(l.attn_norm->type, GGML_TYPE_F32);
        if (tiny.n_expert > 0) {
            EXPECT_EQ(l.ffn_gate_inp->type, GGML_TYPE_F32);  // the router
            EXPECT_EQ(l.ffn_down_exps->type, GGML_TYPE_BF16);
        } else {
            EXPECT_EQ(l.ffn_down->type, GGML_TYPE_BF16);
        }
        EXPECT_EQ(&model->weights(Phase::decode), &w);
        EXPECT_EQ(model->type_in_use(), "F32 as bf16");
    }
}

TEST_F(HeldWeights, ErrorIsThatOfTheType) {
    const std::pair<const char *, std::pair<double, double>> cases[] = {{"bf16", {1e-7, 1e-5}},
                                                                        {"f16", {1e-9, 1e-7}},
                                                                        {"q8_0", {1e-6, 1e-4}},
                                                                        {"q4_0", {1e-3, 2e-2}}};
    for (const auto &[type, range] : cases) {
        const WeightCopy copy = load(tiny_llama(), type)->weight_copy(Phase::prefill);
        EXPECT_EQ(copy.type, type);
        EXPECT_GT(copy.nmse, range.first) << type;
        EXPECT_LT(copy.nmse, range.second) << type;
    }
    TinyModel as_bf16 = tiny_llama();
    as_bf16.weight_type = GGML_TYPE_BF16;
    EXPECT_EQ(load(as_bf16, "f32")->weight_copy(Phase::prefill).nmse, 0.0);
    EXPECT_EQ(load(as_bf16, "bf16")->weight_copy(Phase::prefill).nmse, 0.0);
}

TEST_F(HeldWeights, ValuesBeyondAnF16BecameInfinite) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.tensor("blk.1.ffn_up.weight").values[5] = -1e6f;
    const std::string path = dir_.file("m.gguf");
    const auto load_as = [&](const std::string &type) {
        ModelOptions options;
        options.device = "CPU";
        options.weights = weight_types_from_text(type);
        return Model::load(path, options);
    };
    file.write(path);
    expect_error(ErrorKind::format,
                 "cannot be held as f16: tensor blk.1.ffn_up.weight has values up to 1e+06",
                 [&] { load_as("f16"); });
    EXPECT_LT(load_as("bf16")->weight_copy(Phase::prefill).nmse, 1e-5);
    load_as("q8_0");  // its scale still fits
    file.tensor("blk.1.ffn_up.weight").values[5] = 1e9f;
    file.write(path);
    expect_error(ErrorKind::format, "cannot be held as q8_0: tensor blk.1.ffn_up.weight",
                 [&] { load_as("q8_0"); });
    file.tensor("blk.1.ffn_up.weight").values[5] = std::numeric_limits<float>::quiet_NaN();
    file.write(path);
    expect_error(ErrorKind::format, "has a value that is no finite number",
                 [&] { load_as("bf16"); });
}

TEST_F(HeldWeights, TwoCopiesShareWhatIsNotConverted) {
    const auto model = load(tiny_llama(), "prefill=bf16,decode=q8_0");
    const Weights &prefill = model->weights(Phase::prefill);
    const Weights &decode = model->weights(Phase::decode);
    EXPECT_EQ(prefill.token_embd, decode.token_embd);
    EXPECT_EQ(prefill.layers[0].attn_norm, decode.layers[0].attn_norm);
    EXPECT_EQ(prefill.layers[0].ffn_up->type, GGML_TYPE_BF16);
    EXPECT_EQ(decode.layers[0].ffn_up->type, GGML_TYPE_Q8_0);
    EXPECT_EQ(model->weight_copy(Phase::prefill).bytes * 34,
              model->weight_copy(Phase::decode).bytes * 64);
    EXPECT_EQ(model->type_in_use(), "F32 as prefill=bf16,decode=q8_0");
}

TEST_F(HeldWeights, RowsThatDoNotDivideAreRefused) {
    expect_error(ErrorKind::usage,
                 "q4_k: it needs rows divisible by 256, tensor output.weight has rows of 64",
                 [&] { load(tiny_llama(), "q4_k"); });
    const auto wide = load(widened(tiny_llama()), "q4_k");
    EXPECT_EQ(wide->weights().layers[0].attn_q->type, GGML_TYPE_Q4_K);
}

}  // namespace
}  // namespace orthorank::test
