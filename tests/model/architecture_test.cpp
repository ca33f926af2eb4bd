// The description that each architecture's file fills: layers that differ, numbers that follow from
// others, tensors that are parts of one; and what is refused by name.
#include "model/architecture.h"

#include <ggml-backend.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/model.h"
#include "model/vocab.h"
#include "model/weight_bytes.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

using testing::ElementsAre;

class ArchitectureKeys : public testing::Test {
 protected:
    void make(const std::string &name) { file_ = make_tiny_file(tiny_architecture(name)); }
    gguf_context *meta() { return file_.meta.get(); }
    Hparams read() {
        file_.write(path_);
        return read_hparams(GgufFile(path_));
    }
    std::unique_ptr<Model> load() {
        file_.write(path_);
        return Model::load(path_);
    }
    void expect_refused(const std::string &part) {
        expect_error(ErrorKind::format, part, [&] { load(); });
    }
    std::vector<int> windows() {
        std::vector<int> found;
        for (const LayerSpec &layer : read().layers) {
            found.push_back(layer.window);
        }
        return found;
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
    TinyFile file_{};
};

TEST_F(ArchitectureKeys, WindowsByPeriodAndByArray) {
    make("gemma3");
    EXPECT_THAT(windows(), ElementsAre(20, 20, 20, 20, 20, 0, 20));
    EXPECT_THAT(read().windows, ElementsAre(20, 0));
    gguf_set_val_u32(meta(), "gemma3.attention.sliding_window_pattern", 2);
    EXPECT_THAT(windows(), ElementsAre(20, 0, 20, 0, 20, 0, 20));
    const int8_t flags[7] = {0, 0, 1, 0, 0, 0, 1};
    gguf_set_arr_data(meta(), "gemma3.attention.sliding_window_pattern", GGUF_TYPE_BOOL, flags, 7);
    EXPECT_THAT(windows(), ElementsAre(0, 0, 20, 0, 0, 0, 20));
    gguf_remove_key(meta(), "gemma3.attention.sliding_window");
    EXPECT_THAT(read().windows, ElementsAre(0));
    make("gemma2");
    EXPECT_THAT(windows(), ElementsAre(20, 0, 20));
    gguf_remove_key(meta(), "gemma2.attention.sliding_window");
    EXPECT_THAT(windows(), ElementsAre(4096, 0, 4096));
}

TEST_F(ArchitectureKeys, Gemma) {
    make("gemma3");
    const Hparams h = read();
    EXPECT_EQ(h.embedding_scale, 8.0f);  // the root of 64
    EXPECT_EQ(h.logit_cap, 0.0f);
    EXPECT_EQ(h.layers[0].query_scale, 1.0f / std::sqrt(32.0f));
    EXPECT_EQ(h.layers[0].attention_scale, 1.0f);
    EXPECT_EQ(h.layers[0].gate, Gate::gelu);
    EXPECT_EQ(h.layers[0].rotation.freq_base, 10000.0f);
    EXPECT_EQ(h.layers[5].rotation.freq_base, 1000000.0f);
    make("gemma2");
    EXPECT_EQ(read().layers[0].attention_cap, 3.0f);
    EXPECT_EQ(read().logit_cap, 4.0f);
    gguf_remove_key(meta(), "gemma2.attn_logit_softcapping");
    EXPECT_EQ(read().layers[0].attention_cap, 50.0f);
    gguf_set_val_f32(meta(), "gemma2.attn_logit_softcapping", -1.0f);
    expect_refused("key gemma2.attn_logit_softcapping: found -1");
}

TEST_F(ArchitectureKeys, Experts) {
    make("qwen3moe");
    EXPECT_EQ(read().layers[0].n_ff, 64);
    gguf_remove_key(meta(), "qwen3moe.expert_feed_forward_length");
    EXPECT_EQ(read().layers[0].n_ff, 128 / 3);
    gguf_remove_key(meta(), "qwen3moe.expert_count");
    gguf_remove_key(meta(), "qwen3moe.expert_used_count");
    expect_refused("key qwen3moe.expert_count is missing");
    make("qwen2moe");
    EXPECT_EQ(read().layers[0].n_ff_shared, 96);
    EXPECT_EQ(read().layers[0].expert_shares, ExpertShares::probabilities);
    gguf_remove_key(meta(), "qwen2moe.expert_shared_feed_forward_length");
    EXPECT_EQ(read().layers[0].n_ff_shared, 128);
}

TEST_F(ArchitectureKeys, GptOss) {
    make("gpt_oss");
    const Hparams h = read();
    EXPECT_THAT(windows(), ElementsAre(20, 0, 20));
    EXPECT_EQ(h.layers[0].n_ff, 64);
    EXPECT_EQ(h.layers[0].gate, Gate::clamped);
    EXPECT_EQ(h.layers[0].expert_shares, ExpertShares::of_used);
    EXPECT_EQ(h.layers[0].rotation.ext_factor, 1.0f);
    EXPECT_EQ(h.layers[0].attention_scale, 1.0f / std::sqrt(32.0f));
    const auto model = load();
    const LayerWeights &layer = model->weights().layers[1];
    EXPECT_STREQ(ggml_get_name(layer.ffn_norm), "blk.1.ffn_norm.weight");
    EXPECT_EQ(layer.attn_post_norm, nullptr);
    EXPECT_EQ(layer.attn_sinks->ne[0], 4);
    EXPECT_EQ(layer.ffn_down_exps_bias->ne[1], 8);
    // Three of eight experts, with their biases; the router and the norm before them.
    EXPECT_EQ(layer_weight_bytes(*model, 1).ffn,
              4 * (3 * (3 * 64 * 64 + 2 * 64 + 64) + 64 * 8 + 8 + 64));
    gguf_set_val_f32(meta(), "gpt-oss.rope.freq_base_swa", 1000.0f);
    EXPECT_EQ(read().layers[0].rotation.freq_base, 1000.0f);
    EXPECT_EQ(read().layers[1].rotation.freq_base, 150000.0f);
    gguf_remove_key(meta(), "gpt-oss.attention.sliding_window");
    expect_refused("key gpt-oss.attention.sliding_window is missing");
    make("gpt_oss");
    gguf_remove_key(meta(), "gpt-oss.expert_count");
    gguf_remove_key(meta(), "gpt-oss.expert_used_count");
    expect_refused("key gpt-oss.expert_count is missing");
}

TEST_F(ArchitectureKeys, Gemma4) {
    make("gemma4");
    const Hparams h = read();
    EXPECT_THAT(windows(), ElementsAre(20, 20, 0, 20));
    EXPECT_EQ(h.n_embd_q(0), 4 * 32);
    EXPECT_EQ(h.n_embd_k(2), 2 * 64);
    EXPECT_EQ(h.layers[0].rotation.n_rot, 32);
    EXPECT_FALSE(h.layers[0].rotation.has_factors);
    EXPECT_EQ(h.layers[0].rotation.freq_base, 10000.0f);
    EXPECT_EQ(h.layers[2].rotation.n_rot, 64);
    EXPECT_TRUE(h.layers[2].rotation.has_factors);
    EXPECT_EQ(h.layers[2].attention_scale, 1.0f);
    EXPECT_TRUE(h.layers[2].normalises_values);
    EXPECT_EQ(h.logit_cap, 4.0f);
    const auto model = load();
    EXPECT_EQ(model->weights().layers[2].attn_v, nullptr);
    EXPECT_NE(model->weights().layers[1].attn_v, nullptr);
    gguf_set_val_u32(meta(), "gemma4.attention.value_length_swa", 64);
    expect_refused("key_length_swa 32, gemma4.attention.value_length_swa 64");
    make("gemma4moe");
    EXPECT_EQ(read().layers[0].n_ff, 64);
    EXPECT_EQ(read().layers[0].n_ff_shared, 128);
    // Three of eight experts, the dense network, the router, what norms and scales them.
    EXPECT_EQ(layer_weight_bytes(*load(), 1).ffn,
              4 * (3 * (3 * 64 * 64 + 1) + 3 * 64 * 128 + 64 * 8 + 6 * 64 + 1));
}

TEST_F(ArchitectureKeys, Gemma4WithLayersWithoutKeys) {
    make("gemma4e");
    const Hparams h = read();
    EXPECT_EQ(h.n_embd_per_layer, 32);
    EXPECT_EQ(h.tail_begin(), 5);
    std::vector<int> sources;
    std::vector<int> starts;
    for (int il = 0; il < h.n_layers; ++il) {
        sources.push_back(h.layers[static_cast<size_t>(il)].kv_layer);
        starts.push_back(h.start_of(il));
    }
    EXPECT_THAT(sources, ElementsAre(-1, -1, -1, -1, -1, 3, 3, 4));
    EXPECT_THAT(starts, ElementsAre(0, 1, 2, 3, 3, 3, 3, 3));
    EXPECT_TRUE(h.is_read(3) && h.is_read(4));
    EXPECT_FALSE(h.is_read(2) || h.is_read(5));
    const auto model = load();
    EXPECT_EQ(model->weights().layers[5].attn_k, nullptr);
    // Six matrices of the halves, three of the embedding, the norms, the scale.
    EXPECT_EQ(layer_weight_bytes(*model, 5).kv, 0);
    EXPECT_EQ(layer_weight_bytes(*model, 5).ffn,
              4 * (3 * 64 * 128 + 3 * 64 * 32 + 3 * 64 + 32 + 1));
    gguf_set_val_u32(meta(), "gemma4.attention.shared_kv_layers", 4);
    expect_refused(
        "key gemma4.attention.shared_kv_layers is 4: layer 4 would read the keys of "
        "layer 3, which has another window or other heads");
    gguf_set_val_u32(meta(), "gemma4.attention.shared_kv_layers", 8);
    expect_refused("key gemma4.attention.shared_kv_layers");
    gguf_set_val_u32(meta(), "gemma4.attention.shared_kv_layers", 0);
    expect_refused("tensor blk.5.attn_k.weight is missing");
    make("gemma4e");
    gguf_set_val_u32(meta(), "gemma4.embedding_length_per_layer_input", 16);
    expect_refused("tensor per_layer_token_embd.weight has shape [256, 288], expected [128, 288]");
    gguf_remove_key(meta(), "gemma4.embedding_length_per_layer_input");
    expect_refused("is not part of architecture gemma4");
    make("gemma3");
    gguf_set_val_u32(meta(), "gemma3.attention.shared_kv_layers", 2);
    expect_refused("key gemma3.attention.shared_kv_layers is 2, and architecture gemma3");
}

// Some files have projections that no layer computes with.
TEST_F(ArchitectureKeys, KeysOfLayersThatReadOthersAreIgnored) {
    make("gemma4e");
    const std::string fingerprint = load()->fingerprint();
    for (const char *name : {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"}) {
        TinyTensor more = file_.tensor(std::string("blk.4.") + name);
        more.name = std::string("blk.7.") + name;
        file_.tensors.push_back(more);
    }
    EXPECT_EQ(load()->fingerprint(), fingerprint);
}

// A layer's part of a token's row begins with a block.
TEST_F(ArchitectureKeys, EmbeddingsOfLayersAreWholeBlocks) {
    make("gemma4e");
    gguf_set_val_u32(meta(), "gemma4.embedding_length_per_layer_input", 16);
    TinyTensor &table = file_.tensor("per_layer_token_embd.weight");
    table.ne[0] = 128;
    table.type = GGML_TYPE_Q8_0;
    expect_refused(
        "tensor per_layer_token_embd.weight has type q8_0, which needs 16 numbers for "
        "each layer divisible by 32");
}

TEST_F(ArchitectureKeys, ScalesAndTemperature) {
    make("granite");
    const Hparams h = read();
    EXPECT_EQ(h.logit_scale, 1.0f / 3.0f);
    EXPECT_EQ(h.embedding_scale, 2.5f);
    EXPECT_EQ(h.layers[1].residual_scale, 0.4f);
    EXPECT_EQ(h.layers[1].attention_scale, 0.1f);
    gguf_set_val_bool(meta(), "granite.rope.scaling.finetuned", false);
    EXPECT_EQ(read().layers[1].rotation.n_rot, 0);
    gguf_remove_key(meta(), "granite.logit_scale");
    expect_refused("key granite.logit_scale is missing");
    make("mistral3");
    EXPECT_EQ(read().temperature_length, 256);
    EXPECT_EQ(query_temperature(read(), 255), 1.0f);
    EXPECT_NEAR(query_temperature(read(), 256), 1.0f + 0.4f * std::log(2.0f), 1e-6f);
}

TEST_F(ArchitectureKeys, Rotations) {
    make("smollm3");
    std::vector<int> rotated;
    for (const LayerSpec &layer : read().layers) {
        rotated.push_back(layer.rotation.n_rot);
    }
    EXPECT_THAT(rotated, ElementsAre(16, 16, 16, 0, 16));
    make("olmo3");
    EXPECT_EQ(read().layers[0].rotation.ext_factor, 0.0f);
    EXPECT_EQ(read().layers[0].rotation.freq_scale, 1.0f);
    EXPECT_EQ(read().layers[3].rotation.ext_factor, 1.0f);
    EXPECT_EQ(read().layers[3].rotation.freq_scale, 0.25f);
    make("phi");
    EXPECT_EQ(read().layers[0].rotation.n_rot, 12);
    gguf_set_val_str(meta(), "phi3.rope.scaling.type", "longrope");
    EXPECT_EQ(read().layers[0].rotation.n_rot, 12);
    gguf_set_val_u32(meta(), "phi3.rope.dimension_count", 18);  // more than a head
    expect_refused("rope.dimension_count 18");
}

// Rows of a fused tensor are tensors of their own.
TEST_F(ArchitectureKeys, FusedTensorsAreTakenApart) {
    make("phi");
    const auto model = load();
    const LayerWeights &layer = model->weights().layers[1];
    const std::vector<float> &whole = file_.tensor("blk.1.attn_qkv.weight").values;
    const auto expect_rows = [&](const ggml_tensor *part, size_t first, size_t n_rows) {
        ASSERT_EQ(ggml_nelements(part), static_cast<int64_t>(n_rows * 64));
        std::vector<float> found(n_rows * 64);
        ggml_backend_tensor_get(part, found.data(), 0, found.size() * sizeof(float));
        EXPECT_TRUE(std::equal(found.begin(), found.end(), whole.begin() + first * 64));
    };
    expect_rows(layer.attn_q, 0, 64);
    expect_rows(layer.attn_k, 64, 32);
    expect_rows(layer.attn_v, 96, 32);
    EXPECT_EQ(model->n_params(),
              2 * 288 * 64 + 64 + 6 + 6 + 3 * (64 * 128 + 64 * 64 + 64 * 256 + 128 * 64 + 2 * 64));
    const LayerWeightBytes bytes = layer_weight_bytes(*model, 1);
    EXPECT_EQ(bytes.kv, 64 * 64 * 4);
    EXPECT_EQ(bytes.q_o, (2 * 64 * 64 + 64) * 4);
}

TEST_F(ArchitectureKeys, WhatIsNotComputedIsRefusedByName) {
    const std::pair<const char *, const char *> keys[] = {
        {"gemma3", "attn_logit_softcapping"},   {"qwen3moe", "expert_shared_feed_forward_length"},
        {"smollm3", "attention.scale"},         {"olmo2", "residual_scale"},
        {"gemma3", "attention.key_length_swa"}, {"qwen3moe", "expert_gating_func"},
        {"mistral3", "nextn_predict_layers"}};
    for (const auto &[name, key] : keys) {
        make(name);
        const std::string full = std::string(name) + "." + key;
        gguf_set_val_f32(meta(), full.c_str(), 0.5f);
        expect_refused("key " + full + " is 0.5, and architecture " + name + " is not computed");
        gguf_set_val_f32(meta(), full.c_str(), 0.0f);  // says that there is nothing
        EXPECT_NO_THROW(load()) << full;
    }
    make("gemma3");  // says that heads of layers with a window are as wide as the others
    gguf_set_val_u32(meta(), "gemma3.attention.key_length_swa",
                     load()->hparams().layers.front().head_dim);
    EXPECT_NO_THROW(load());
    make("smollm3");  // arrays count by all of their entries
    float clamps[5] = {};
    gguf_set_arr_data(meta(), "smollm3.swiglu_clamp_exp", GGUF_TYPE_FLOAT32, clamps, 5);
    EXPECT_NO_THROW(load());
    clamps[4] = 7;
    gguf_set_arr_data(meta(), "smollm3.swiglu_clamp_exp", GGUF_TYPE_FLOAT32, clamps, 5);
    expect_refused("key smollm3.swiglu_clamp_exp is 7, and architecture smollm3");
    const std::pair<const char *, const char *> tensors[] = {
        {"gemma3", "dense_2.weight"},
        {"qwen2moe", "rope_freqs.weight"},
        {"granite", "blk.1.ffn_gate_shexp.weight"},
        {"olmo2", "blk.0.attn_norm.weight"},
        {"smollm3", "blk.2.attn_sinks.weight"},
        {"qwen3moe", "output.scale"}};  // of a head in NVFP4
    for (const auto &[name, tensor] : tensors) {
        make(name);
        file_.tensors.push_back({tensor, GGML_TYPE_F32, {64}, {1}});
        expect_refused(std::string("tensor ") + tensor + " is not part of architecture " + name);
    }
}

TEST_F(ArchitectureKeys, EachMissingTensorIsNamed) {
    const std::pair<const char *, const char *> tensors[] = {
        {"gemma3", "blk.3.post_ffw_norm.weight"},
        {"gemma2", "blk.1.post_attention_norm.weight"},
        {"qwen3moe", "blk.0.attn_k_norm.weight"},
        {"qwen2moe", "blk.2.ffn_gate_inp_shexp.weight"},
        {"phi", "blk.1.ffn_up.weight"},
        {"granitemoe", "blk.1.ffn_down_shexp.weight"},
        {"olmo2", "blk.1.attn_q_norm.weight"},
        {"gpt_oss", "blk.1.attn_sinks.weight"},
        {"gpt_oss", "blk.0.ffn_gate_inp.bias"},
        {"gpt_oss", "blk.2.ffn_up_exps.bias"},
        {"gpt_oss", "blk.2.post_attention_norm.weight"},
        {"gemma4", "blk.1.attn_k_norm.weight"},
        {"gemma4moe", "blk.0.pre_ffw_norm_2.weight"},
        {"gemma4e", "blk.4.attn_k.weight"},
        {"gemma4e", "blk.7.inp_gate.weight"},
        {"gemma4e", "per_layer_model_proj.weight"}};
    for (const auto &[name, tensor] : tensors) {
        make(name);
        file_.remove_tensor(tensor);
        expect_refused(std::string("tensor ") + tensor + " is missing");
    }
}

// What two models differ in that their norms do not show.
TEST_F(ArchitectureKeys, FingerprintsTellPeculiaritiesApart) {
    const std::pair<const char *, const char *> keys[] = {
        {"gemma2", "gemma2.attn_logit_softcapping"},
        {"gemma2", "gemma2.final_logit_softcapping"},
        {"granite", "granite.residual_scale"},
        {"granite", "granite.attention.scale"},
        {"mistral3", "mistral3.attention.temperature_scale"}};
    for (const auto &[name, key] : keys) {
        make(name);
        const std::string before = load()->fingerprint();
        gguf_set_val_f32(meta(), key, 0.7f);
        EXPECT_NE(load()->fingerprint(), before) << key;
    }
    make("olmo3");
    const std::string before = load()->fingerprint();
    gguf_set_val_u32(meta(), "olmo2.attention.sliding_window", 21);
    EXPECT_NE(load()->fingerprint(), before);
}

// Whatever the file says: without BOS it has no sink.
TEST_F(ArchitectureKeys, GemmaBeginsWithBos) {
    make("gemma3");
    gguf_set_val_bool(meta(), "tokenizer.ggml.add_bos_token", false);
    const auto gemma = load();
    EXPECT_EQ(gemma->vocab().window_start(), std::optional<int32_t>(1));
    EXPECT_EQ(gemma->vocab().tokenize("a", true).front(), 1);
    EXPECT_NE(gemma->vocab().tokenize("a", false).front(), 1);
    make("granite");
    EXPECT_EQ(load()->vocab().window_start(), std::nullopt);
}

}  // namespace
}  // namespace orthorank::test
