// The numbers read from GGUF keys, their defaults, and what is refused.
#include "model/hparams.h"

#include <gguf.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/gguf_file.h"
#include "model/model.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

class HparamsTest : public testing::Test {
 protected:
    explicit HparamsTest(const TinyModel &model = tiny_llama()) : file_(make_tiny_file(model)) {}

    gguf_context *meta() { return file_.meta.get(); }
    Hparams read() {
        file_.write(dir_.file("m.gguf"));
        return read_hparams(GgufFile(dir_.file("m.gguf")));
    }
    void expect_refused(const std::string &part) {
        expect_error(ErrorKind::format, part, [&] { read(); });
    }

    TempDir dir_;
    TinyFile file_;
};

TEST_F(HparamsTest, Llama) {
    const Hparams h = read();
    EXPECT_EQ(h.arch, "llama");
    EXPECT_EQ(h.layers[0].rotation.type, RopeType::norm);
    EXPECT_EQ(h.n_layers, 3);
    EXPECT_EQ(h.n_embd, 64);
    EXPECT_EQ(h.n_vocab, k_tiny_n_vocab);
    EXPECT_EQ(h.layers[0].head_dim, 16);
    EXPECT_EQ(h.layers[0].rotation.n_rot, 16);
    EXPECT_EQ(h.layers.size(), 3u);
    EXPECT_EQ(h.layers[2].n_ff, 128);
    EXPECT_EQ(h.layers[0].rotation.ext_factor, 0.0f);
    EXPECT_EQ(h.layers[0].rotation.attn_factor, 1.0f);
    EXPECT_EQ(h.layers[0].rotation.n_ctx_orig, h.n_ctx_train);
}

TEST_F(HparamsTest, Qwen3) {
    file_ = make_tiny_file(tiny_qwen3());
    const Hparams h = read();
    EXPECT_EQ(h.arch, "qwen3");
    EXPECT_EQ(h.layers[0].rotation.type, RopeType::neox);
    EXPECT_EQ(h.layers[0].head_dim, 32);
    EXPECT_EQ(h.n_embd_q(0), 128);
    EXPECT_EQ(h.n_embd_k(0), 64);
}

TEST_F(HparamsTest, DefaultsOfMissingKeys) {
    for (const char *key : {"llama.attention.head_count_kv", "llama.rope.freq_base",
                            "llama.rope.dimension_count", "general.name"}) {
        ASSERT_GE(gguf_remove_key(meta(), key), 0);
    }
    const Hparams h = read();
    EXPECT_EQ(h.layers[0].n_head_kv, 4);
    EXPECT_EQ(h.layers[0].rotation.freq_base, 10000.0f);
    EXPECT_EQ(h.layers[0].rotation.n_rot, 16);
    EXPECT_EQ(h.name, "");
}

TEST_F(HparamsTest, RequiredKeys) {
    for (const char *key :
         {"general.architecture", "llama.block_count", "llama.embedding_length",
          "llama.context_length", "llama.feed_forward_length", "llama.attention.head_count",
          "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.tokens"}) {
        file_ = make_tiny_file(tiny_llama());
        gguf_remove_key(meta(), key);
        expect_refused(std::string("key ") + key + " is missing");
    }
}

TEST_F(HparamsTest, PerLayerNumbers) {
    const uint32_t n_ff[3] = {128, 64, 32};
    gguf_set_arr_data(meta(), "llama.feed_forward_length", GGUF_TYPE_UINT32, n_ff, 3);
    const int64_t n_head_kv[3] = {4, 2, 1};
    gguf_set_arr_data(meta(), "llama.attention.head_count_kv", GGUF_TYPE_INT64, n_head_kv, 3);
    const Hparams h = read();
    EXPECT_EQ(h.layers[1].n_ff, 64);
    EXPECT_EQ(h.layers[2].n_head_kv, 1);
    EXPECT_EQ(h.n_embd_k(2), 16);
}

TEST_F(HparamsTest, UnknownArchitecture) {
    gguf_set_val_str(meta(), "general.architecture", "gpt2");
    expect_refused("architecture 'gpt2' is not supported (supported: llama, qwen2, qwen3, ");
}

TEST_F(HparamsTest, ZeroesAndHugeNumbers) {
    for (const char *key : {"llama.block_count", "llama.embedding_length", "llama.context_length",
                            "llama.feed_forward_length", "llama.attention.head_count",
                            "llama.attention.head_count_kv", "llama.rope.dimension_count"}) {
        for (const uint32_t value : {0u, 0x7fffffffu, 0xffffffffu}) {
            file_ = make_tiny_file(tiny_llama());
            gguf_set_val_u32(meta(), key, value);
            expect_refused(key);
        }
    }
}

TEST_F(HparamsTest, NegativeNumbers) {
    gguf_set_val_i32(meta(), "llama.block_count", -3);
    expect_refused("key llama.block_count: found -3");
}

TEST_F(HparamsTest, HeadsThatDoNotDivide) {
    gguf_set_val_u32(meta(), "llama.attention.head_count_kv", 3);
    expect_refused("layer 0 has 4 query heads and 3 key heads");
}

TEST_F(HparamsTest, MoreHeadsThanWidth) {
    gguf_set_val_u32(meta(), "llama.attention.head_count", 128);
    gguf_set_val_u32(meta(), "llama.attention.head_count_kv", 128);
    gguf_remove_key(meta(), "llama.rope.dimension_count");
    expect_refused("expected");
}

TEST_F(HparamsTest, PartialRotation) {
    gguf_set_val_u32(meta(), "llama.rope.dimension_count", 8);
    expect_refused("rope.dimension_count 8: expected all equal");
}

TEST_F(HparamsTest, BadNumbers) {
    gguf_set_val_f32(meta(), "llama.rope.freq_base", 0.0f);
    expect_refused("llama.rope.freq_base: found 0");
    file_ = make_tiny_file(tiny_llama());
    gguf_set_val_f32(meta(), "llama.attention.layer_norm_rms_epsilon", std::nanf(""));
    expect_refused("expected a finite number");
    file_ = make_tiny_file(tiny_llama());
    gguf_set_val_f32(meta(), "llama.rope.scaling.factor", -2.0f);
    expect_refused("rope.scaling.factor: found -2");
}

TEST_F(HparamsTest, LinearScaling) {
    gguf_set_val_f32(meta(), "llama.rope.scale_linear", 4.0f);  // the old key
    EXPECT_EQ(read().layers[0].rotation.freq_scale, 0.25f);
    gguf_set_val_f32(meta(), "llama.rope.scaling.factor", 2.0f);
    EXPECT_EQ(read().layers[0].rotation.freq_scale, 0.5f);
    gguf_set_val_str(meta(), "llama.rope.scaling.type", "none");
    EXPECT_EQ(read().layers[0].rotation.freq_scale, 1.0f);
}

TEST_F(HparamsTest, YarnScaling) {
    gguf_set_val_str(meta(), "llama.rope.scaling.type", "yarn");
    gguf_set_val_f32(meta(), "llama.rope.scaling.factor", 4.0f);
    gguf_set_val_u32(meta(), "llama.rope.scaling.original_context_length", 512);
    const Hparams h = read();
    EXPECT_EQ(h.layers[0].rotation.ext_factor, 1.0f);
    EXPECT_EQ(h.layers[0].rotation.freq_scale, 0.25f);
    EXPECT_EQ(h.layers[0].rotation.n_ctx_orig, 512);
    EXPECT_NEAR(h.layers[0].rotation.attn_factor, 1.0f,
                1e-6f);  // ggml multiplies by the magnitude itself
}

TEST_F(HparamsTest, OtherScaling) {
    gguf_set_val_str(meta(), "llama.rope.scaling.type", "longrope");
    expect_refused("key llama.rope.scaling.type: rope scaling 'longrope' is not supported");
}

TEST_F(HparamsTest, Experts) {
    file_ = make_tiny_file(tiny_mixtral());
    EXPECT_EQ(read().n_expert_used, 2);
    gguf_set_val_u32(meta(), "llama.expert_used_count", 5);
    expect_refused("key llama.expert_used_count: 5 of 4 experts are used");
    gguf_set_val_u32(meta(), "llama.expert_used_count", 0);
    expect_refused("0 of 4 experts are used");
    file_ = make_tiny_file(tiny_qwen2());
    gguf_set_val_u32(meta(), "qwen2.expert_count", 4);
    gguf_set_val_u32(meta(), "qwen2.expert_used_count", 2);
    expect_refused(
        "key qwen2.expert_count: found 4 experts, and architecture qwen2 has no mixture");
}

TEST_F(HparamsTest, EncodersAreRefused) {
    gguf_set_val_bool(meta(), "llama.attention.causal", false);
    expect_refused("is not a causal model");
}

}  // namespace
}  // namespace orthorank::test
