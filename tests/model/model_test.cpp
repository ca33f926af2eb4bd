// A file becomes a Model: every tensor in its place and of its shape, or one clear line.
#include "model/model.h"

#include <ggml-backend.h>
#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/devices.h"
#include "model/vocab.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

std::vector<float> read_back(const ggml_tensor *tensor) {
    std::vector<float> values(static_cast<size_t>(ggml_nelements(tensor)));
    CHECK(tensor->type == GGML_TYPE_F32);
    ggml_backend_tensor_get(tensor, values.data(), 0, ggml_nbytes(tensor));
    return values;
}

int64_t bytes_in(const Model &model, const std::string &buffer) {
    for (const auto &[name, bytes] : model.buffer_bytes()) {
        if (name == buffer) {
            return bytes;
        }
    }
    return 0;
}

class TinyModelTest : public testing::TestWithParam<TinyModel> {
 protected:
    TinyModelTest() : path_(dir_.file("m.gguf")), file_(make_tiny_file(GetParam())) {}

    std::unique_ptr<Model> load(const ModelOptions &options = {}) {
        file_.write(path_);
        return Model::load(path_, options);
    }
    void expect_refused(const std::string &part) {
        expect_error(ErrorKind::format, part, [&] { load(); });
    }
    void expect_values(const ggml_tensor *tensor, const std::string &name) {
        ASSERT_NE(tensor, nullptr) << name;
        EXPECT_EQ(read_back(tensor), file_.tensor(name).values) << name;
    }

    TempDir dir_;
    std::string path_;
    TinyFile file_;
};

TEST_P(TinyModelTest, WeightsAreTheFiles) {
    for (const bool use_mmap : {true, false}) {
        ModelOptions options;
        options.use_mmap = use_mmap;
        options.device = "CPU";
        const auto model = load(options);
        const Weights &w = model->weights();
        expect_values(w.token_embd, "token_embd.weight");
        expect_values(w.output_norm, "output_norm.weight");
        if (GetParam().is_tied) {
            EXPECT_EQ(w.output, w.token_embd);
        } else {
            expect_values(w.output, "output.weight");
        }
        ASSERT_EQ(w.layers.size(), 3u);
        for (size_t il = 0; il < w.layers.size(); il++) {
            const LayerWeights &l = w.layers[il];
            const std::string blk = "blk." + std::to_string(il) + ".";
            expect_values(l.attn_norm, blk + "attn_norm.weight");
            expect_values(l.attn_q, blk + "attn_q.weight");
            expect_values(l.attn_k, blk + "attn_k.weight");
            expect_values(l.attn_v, blk + "attn_v.weight");
            expect_values(l.attn_output, blk + "attn_output.weight");
            expect_values(l.ffn_norm, blk + "ffn_norm.weight");
        }
        EXPECT_EQ(bytes_in(*model, use_mmap ? "CPU" : "CPU_Mapped"), 0);
        EXPECT_GT(bytes_in(*model, use_mmap ? "CPU_Mapped" : "CPU"), 100000);
    }
}

TEST_P(TinyModelTest, OptionalTensors) {
    const auto model = load();
    const TinyModel &tiny = GetParam();
    const LayerWeights &l = model->weights().layers[1];
    const auto expect_optional = [&](const ggml_tensor *tensor, bool is_there, const char *name) {
        if (is_there) {
            expect_values(tensor, name);
        } else {
            EXPECT_EQ(tensor, nullptr) << name;
        }
    };
    expect_optional(l.attn_q_bias, tiny.has_qkv_biases, "blk.1.attn_q.bias");
    expect_optional(l.attn_k_bias, tiny.has_qkv_biases, "blk.1.attn_k.bias");
    expect_optional(l.attn_v_bias, tiny.has_qkv_biases, "blk.1.attn_v.bias");
    expect_optional(l.attn_output_bias, tiny.has_all_biases, "blk.1.attn_output.bias");
    expect_optional(l.attn_q_norm, tiny.has_qk_norms, "blk.1.attn_q_norm.weight");
    expect_optional(l.attn_k_norm, tiny.has_qk_norms, "blk.1.attn_k_norm.weight");
    expect_optional(model->weights().layers.back().rope_freqs, tiny.has_rope_freqs,
                    "rope_freqs.weight");
    const bool is_moe = tiny.n_expert > 0;
    expect_optional(l.ffn_gate, !is_moe, "blk.1.ffn_gate.weight");
    expect_optional(l.ffn_up, !is_moe, "blk.1.ffn_up.weight");
    expect_optional(l.ffn_down, !is_moe, "blk.1.ffn_down.weight");
    expect_optional(l.ffn_down_bias, tiny.has_all_biases, "blk.1.ffn_down.bias");
    expect_optional(l.ffn_gate_inp, is_moe, "blk.1.ffn_gate_inp.weight");
    expect_optional(l.ffn_gate_exps, is_moe, "blk.1.ffn_gate_exps.weight");
    expect_optional(l.ffn_up_exps, is_moe, "blk.1.ffn_up_exps.weight");
    expect_optional(l.ffn_down_exps, is_moe, "blk.1.ffn_down_exps.weight");
}

TEST_P(TinyModelTest, EachMissingTensorIsNamed) {
    const TinyModel &tiny = GetParam();
    std::vector<std::string> names = {"token_embd.weight",        "output_norm.weight",
                                      "blk.1.attn_norm.weight",   "blk.2.attn_k.weight",
                                      "blk.0.attn_output.weight", "blk.1.ffn_norm.weight"};
    if (tiny.n_expert > 0) {
        names.insert(names.end(), {"blk.1.ffn_gate_inp.weight", "blk.2.ffn_down_exps.weight"});
    } else {
        names.insert(names.end(), {"blk.1.ffn_gate.weight", "blk.2.ffn_down.weight"});
    }
    if (tiny.has_qk_norms) {
        names.push_back("blk.1.attn_q_norm.weight");
    }
    for (const std::string &name : names) {
        file_ = make_tiny_file(tiny);
        file_.remove_tensor(name);
        expect_refused("tensor " + name + " is missing");
    }
}

TEST_P(TinyModelTest, WrongShapes) {
    for (const char *name : {"token_embd.weight", "output_norm.weight", "blk.1.attn_k.weight"}) {
        file_ = make_tiny_file(GetParam());
        file_.tensor(name).ne[0] += 32;
        expect_refused(std::string("tensor ") + name + " has shape [96");
    }
}

INSTANTIATE_TEST_SUITE_P(All, TinyModelTest, testing::ValuesIn(tiny_models()),
                         [](const auto &test) { return test.param.name; });

class ModelTest : public testing::Test {
 protected:
    std::unique_ptr<Model> load(const TinyModel &tiny, const ModelOptions &options = {}) {
        return load(make_tiny_file(tiny), options);
    }
    std::unique_ptr<Model> load(const TinyFile &file, const ModelOptions &options = {}) {
        file.write(dir_.file("m.gguf"));
        return Model::load(dir_.file("m.gguf"), options);
    }
    void expect_refused(const TinyFile &file, const std::string &part) {
        expect_error(ErrorKind::format, part, [&] { load(file); });
    }

    TempDir dir_;
};

TEST_F(ModelTest, Information) {
    const auto model = load(tiny_llama());
    EXPECT_EQ(model->path(), dir_.file("m.gguf"));
    EXPECT_EQ(model->file_type(), "F32");
    // embedding and head, three layers of 4 d^2 + 3 d n_ff + 2 d, one norm
    EXPECT_EQ(model->n_params(), 2 * 64 * 288 + 3 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64);
    ASSERT_EQ(model->tensor_types().size(), 1u);
    EXPECT_EQ(model->tensor_types()[0].type, "f32");
    EXPECT_EQ(model->tensor_types()[0].n_tensors, 3 + 3 * 9);
    EXPECT_EQ(model->tensor_types()[0].bytes, model->n_params() * 4);
    EXPECT_EQ(model->fingerprint().size(), 16u);
    EXPECT_EQ(ggml_backend_dev_type(model->devices().back()), GGML_BACKEND_DEVICE_TYPE_CPU);
}

TEST_F(ModelTest, NormsInF16AreConverted) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.tensor("blk.1.attn_norm.weight").type = GGML_TYPE_F16;
    file.tensor("output_norm.weight").type = GGML_TYPE_BF16;
    const auto model = load(file);
    const std::vector<float> found = read_back(model->weights().layers[1].attn_norm);
    const std::vector<float> expected = file.tensor("blk.1.attn_norm.weight").values;
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); i++) {
        EXPECT_NEAR(found[i], expected[i], 1e-3f);
    }
    EXPECT_NEAR(read_back(model->weights().output_norm)[5],
                file.tensor("output_norm.weight").values[5], 1e-2f);
}

TEST_F(ModelTest, QuantisedNormsAreRefused) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.tensor("blk.1.attn_norm.weight").type = GGML_TYPE_Q8_0;
    expect_refused(file, "tensor blk.1.attn_norm.weight has type q8_0, expected f32, f16 or bf16");
}

TEST_F(ModelTest, OldMixtral) {
    TinyFile file = make_tiny_file(tiny_mixtral());
    file.remove_tensor("blk.0.ffn_gate_exps.weight");
    file.tensors.push_back({"blk.0.ffn_gate.0.weight", GGML_TYPE_F32, {64, 128}, {0.1f}});
    expect_refused(file, "one tensor per expert");
}

TEST_F(ModelTest, ExtraTensors) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.tensors.push_back({"something.else", GGML_TYPE_F32, {3}, {1}});
    file.tensors.push_back({"blk.7.attn_q.weight", GGML_TYPE_F32, {3}, {1}});
    file.tensors.push_back({"blk.0.attn_rot_embd", GGML_TYPE_F32, {3}, {1}});
    EXPECT_NO_THROW(load(file));
    // A layer's tensor that the network would need is another matter.
    file.tensors.push_back({"blk.1.attn_sub_norm.weight", GGML_TYPE_F32, {64}, {1}});
    expect_refused(file, "tensor blk.1.attn_sub_norm.weight is not part of architecture llama");
}

TEST_F(ModelTest, FusedQkvIsRefused) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.remove_tensor("blk.0.attn_q.weight");
    file.tensors.push_back({"blk.0.attn_qkv.weight", GGML_TYPE_F32, {64, 192}, {0.1f}});
    expect_refused(file, "tensor blk.0.attn_q.weight is missing");
}

TEST_F(ModelTest, UnknownDevice) {
    ModelOptions options;
    options.device = "Abacus";
    try {
        load(tiny_llama(), options);
        FAIL();
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::device);
        EXPECT_THAT(error.what(), testing::HasSubstr("no device 'Abacus' (known:"));
        EXPECT_THAT(error.what(), testing::HasSubstr("CPU"));
    }
}

TEST_F(ModelTest, FingerprintIsTheModels) {
    const std::string one = load(tiny_llama())->fingerprint();
    EXPECT_EQ(load(tiny_llama())->fingerprint(), one);

    TinyModel other = tiny_llama();
    other.seed = 2;
    EXPECT_NE(load(other)->fingerprint(), one);
    other = tiny_llama();
    other.n_layers = 2;
    EXPECT_NE(load(other)->fingerprint(), one);
    other = tiny_llama();
    other.rope_freq_base = 20000;
    EXPECT_NE(load(other)->fingerprint(), one);

    TinyModel renamed = tiny_llama();
    renamed.name = "other";
    EXPECT_EQ(load(renamed)->fingerprint(), one);
}

TEST_F(ModelTest, TiedHeadOfRepackedType) {
    TinyModel tiny = widened(tiny_llama_gqa_tied());
    tiny.weight_type = GGML_TYPE_Q4_0;
    ModelOptions options;
    options.device = "CPU";
    options.repack = false;
    const auto plain = load(tiny, options);
    EXPECT_EQ(plain->weights().output, plain->weights().token_embd);
    options.repack = true;
    const auto repacked = load(tiny, options);
    const Weights &w = repacked->weights();
    EXPECT_TRUE(ggml_backend_buffer_is_host(w.token_embd->buffer));
    if (w.layers[0].attn_q->buffer == w.token_embd->buffer) {
        GTEST_SKIP() << "this processor has no repacked layout for Q4_0";
    }
    EXPECT_NE(w.output, w.token_embd);
    EXPECT_EQ(w.output->buffer, w.layers[0].attn_q->buffer);
    EXPECT_EQ(w.output->ne[1], k_tiny_n_vocab);
}

TEST_F(ModelTest, BuffersAreForWeights) {
    TinyModel tiny = widened(tiny_mixtral());
    tiny.weight_type = GGML_TYPE_Q4_0;
    const auto model = load(tiny);
    const LayerWeights &l = model->weights().layers[0];
    for (const ggml_tensor *tensor : {l.attn_q, l.attn_norm, l.ffn_up_exps}) {
        EXPECT_EQ(ggml_backend_buffer_get_usage(tensor->buffer), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    int64_t sum = 0;
    for (const auto &[name, bytes] : model->buffer_bytes()) {
        sum += bytes;
    }
    int64_t in_file = 0;
    for (const TensorTypeCount &count : model->tensor_types()) {
        in_file += count.bytes;
    }
    EXPECT_EQ(sum, in_file);
}

TEST_F(ModelTest, ModulesThatCannotBeLoadedAreNamed) {
    write_bytes(dir_.file("libggml-broken.so"), "no library");
    write_bytes(dir_.file("other.so"), "no library");
    const auto unloaded = unloaded_modules_in(dir_.path().string());
    ASSERT_EQ(unloaded.size(), 1u);
    EXPECT_EQ(unloaded[0].file, "libggml-broken.so");
    EXPECT_NE(unloaded[0].reason.find("libggml-broken.so"), std::string::npos);
    EXPECT_TRUE(unloaded_modules_in(dir_.file("missing")).empty());
}

TEST_F(ModelTest, ACpuComputesAttentionOfEveryWidth) {
    ggml_backend_dev_t cpu = choose_devices("CPU").front();
    for (const int width : {16, 32, 48, 64, 96, 128, 512}) {
        EXPECT_TRUE(computes_attention(cpu, {width, 4, 2}, GGML_TYPE_F16)) << width;
    }
    EXPECT_TRUE(computes_attention(cpu, {64, 4, 4}, GGML_TYPE_Q8_0));
}

TEST_F(ModelTest, TheDefaultModel) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no model at " << default_model_path();
    }
    const auto model = Model::load(default_model_path());
    const Hparams &h = model->hparams();
    EXPECT_EQ(h.n_layers, 30);
    EXPECT_EQ(h.n_embd, 576);
    EXPECT_EQ(h.layers[0].n_head, 9);
    EXPECT_EQ(h.layers[0].n_head_kv, 3);
    EXPECT_EQ(h.n_vocab, 49152);
    EXPECT_EQ(h.n_ctx_train, 8192);
    EXPECT_EQ(model->n_params(), 134515008);
    EXPECT_EQ(model->file_type(), "Q4_1");
    EXPECT_NE(model->weights().output, nullptr);
}

}  // namespace
}  // namespace orthorank::test
