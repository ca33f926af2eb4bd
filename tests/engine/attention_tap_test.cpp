// The attention probabilities that a tap sees.
#include <gtest/gtest.h>

#include <map>

#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

constexpr int k_n_tokens = 40;

// By layer: [n_tokens keys, rows, heads] put together of the blocks.
class AttentionTap : public Tap {
 public:
    explicit AttentionTap(std::vector<int> layers) : layers_(std::move(layers)) {}

    bool wants_hidden(int) const override { return false; }
    void on_hidden(int, size_t, std::span<const float>) override { ADD_FAILURE(); }
    bool wants_attention(int il) const override {
        return std::find(layers_.begin(), layers_.end(), il) != layers_.end();
    }
    void on_attention(int il, const AttentionBlock &block) override {
        auto &layer = seen_[il];
        layer.resize(static_cast<size_t>(block.n_heads),
                     std::vector<float>(k_n_tokens * k_n_tokens, -1.0f));
        for (int head = 0; head < block.n_heads; ++head) {
            for (int r = 0; r < block.n_rows; ++r) {
                for (int key = 0; key < k_n_tokens; ++key) {
                    layer[head][(block.first_row + r) * k_n_tokens + key] =
                        key < block.n_keys
                            ? block.probabilities[(head * block.n_rows + r) * block.n_keys + key]
                            : 0.0f;
                }
            }
        }
    }

    std::map<int, std::vector<std::vector<float>>> seen_;

 private:
    std::vector<int> layers_;
};

AttentionTap tapped(const Model &model, int chunk_rows, std::vector<int> layers, Logits &logits) {
    EngineOptions options = test_options();
    options.chunk_rows = chunk_rows;
    Engine engine(model, options);
    Sequence sequence = engine.new_sequence(dense_plan(model.hparams().n_layers));
    AttentionTap tap(std::move(layers));
    const std::vector<int32_t> tokens = random_tokens(k_n_tokens, 3);
    logits = run(engine, sequence, tokens, Outputs::last, &tap);
    return tap;
}

TEST(AttentionTap, SeesDistributionsOverEarlierRows) {
    for (const std::string &name : main_fixture_models()) {
        SCOPED_TRACE(name);
        const Model &model = fixture_model(name);
        const int last = model.hparams().n_layers - 1;
        Logits logits;
        const AttentionTap tap = tapped(model, 512, {1, last}, logits);
        ASSERT_EQ(tap.seen_.size(), 2u);
        for (const auto &[il, heads] : tap.seen_) {
            ASSERT_EQ(heads.size(), static_cast<size_t>(model.hparams().layers[il].n_head));
            for (const std::vector<float> &head : heads) {
                for (int row = 0; row < k_n_tokens; ++row) {
                    double sum = 0;
                    for (int key = 0; key < k_n_tokens; ++key) {
                        const float p = head[row * k_n_tokens + key];
                        EXPECT_TRUE(key > row ? p == 0 : p > 0) << row << " " << key;
                        sum += p;
                    }
                    EXPECT_NEAR(sum, 1, 1e-5);
                }
            }
        }
    }
}

// What a sink logit takes is missing from the keys' probabilities.
TEST(AttentionTap, ASinkLogitTakesItsShare) {
    const auto model = load_tiny(tiny_architecture("gpt_oss"));
    Logits logits;
    const AttentionTap tap = tapped(*model, 512, {1}, logits);
    for (const std::vector<float> &head : tap.seen_.at(1)) {
        double sum = 0;
        for (int key = 0; key < k_n_tokens; ++key) {
            sum += head[(k_n_tokens - 1) * k_n_tokens + key];
        }
        EXPECT_GT(sum, 0.1);
        EXPECT_LT(sum, 0.9999);
    }
}

TEST(AttentionTap, IsTheSameInChunksAndChangesNothing) {
    const Model &model = fixture_model("tiny-llama-gqa");
    Logits whole, chunks, without;
    const AttentionTap one = tapped(model, 512, {0, 2}, whole);
    const AttentionTap several = tapped(model, 16, {0, 2}, chunks);
    tapped(model, 512, {}, without);
    for (int il : {0, 2}) {
        for (size_t head = 0; head < one.seen_.at(il).size(); ++head) {
            EXPECT_TRUE(nmse_below(k_nmse_f32, several.seen_.at(il)[head], one.seen_.at(il)[head]));
        }
    }
    EXPECT_TRUE(nmse_below(k_nmse_f32, whole, without));
    EXPECT_TRUE(nmse_below(k_nmse_f32, chunks, without));
}

}  // namespace
}  // namespace orthorank::test
