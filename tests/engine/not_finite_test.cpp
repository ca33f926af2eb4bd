// Nothing that is no number leaves the engine: what a damaged weight or a key beyond half precision
// makes of a pass is an error that names the cause, and the engine goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "graph/taylor.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();
constexpr float k_infinity = std::numeric_limits<float>::infinity();

struct Damage {
    std::string tensor;
    float value;
};

std::ostream &operator<<(std::ostream &out, const Damage &damage) {
    return out << damage.tensor << " " << damage.value;
}

std::unique_ptr<Model> damaged_model(const TempDir &dir, const TinyModel &tiny,
                                     const Damage &damage) {
    TinyFile file = make_tiny_file(tiny);
    file.tensor(damage.tensor).values[5] = damage.value;
    file.write(dir.file("m.gguf"));
    return load_on_cpu(dir.file("m.gguf"));
}

class DamagedWeight : public testing::TestWithParam<Damage> {
 protected:
    TempDir dir_;
    std::unique_ptr<Model> model_ = damaged_model(dir_, tiny_llama(), GetParam());
    Engine engine_{*model_, test_options()};
};

TEST_P(DamagedWeight, IsNamedByEveryKindOfPass) {
    const std::string cause = "tensor " + GetParam().tensor + " has some: the file is damaged";
    const auto tokens = random_tokens(100, 1);
    for (const Plan &plan : {dense_plan(3), select_plan(3, {1}, 0.5)}) {
        Sequence sequence = engine_.new_sequence(plan);
        for (const int n : {1, 40, 100}) {
            if (n == 1 && !plan.is_dense()) {
                continue;  // no row is picked: the damaged layer may not be computed
            }
            expect_error(ErrorKind::format, cause, [&] {
                run(engine_, sequence, std::span(tokens).first(static_cast<size_t>(n)));
            });
            EXPECT_EQ(sequence.n_past(), 0);
        }
    }
    expect_error(ErrorKind::format, cause,
                 [&] { taylor_scores(*model_, std::span(tokens).first(40), 20, 1); });
}

INSTANTIATE_TEST_SUITE_P(
    Tensors, DamagedWeight,
    testing::Values(Damage{"blk.0.attn_norm.weight", k_nan},
                    Damage{"blk.0.attn_norm.weight", k_infinity},
                    Damage{"blk.2.ffn_norm.weight", k_nan}, Damage{"blk.1.attn_q.weight", k_nan},
                    Damage{"blk.1.attn_v.weight", -k_infinity},
                    Damage{"blk.0.ffn_down.weight", k_nan},
                    Damage{"output_norm.weight", k_infinity}, Damage{"output.weight", k_nan}),
    [](const auto &c) { return test_name(c.param.tensor) + std::to_string(c.index); });

// The pass that met it left NaN keys in all layers behind: they must not be seen by a pass that
// does without the layer.
TEST(DamagedLayer, IsNoMatterOnceItIsRemoved) {
    const TempDir dir;
    const auto model = damaged_model(dir, tiny_llama(), {"blk.1.attn_norm.weight", k_nan});
    const auto sound = load_tiny(tiny_llama());
    Engine engine(*model, test_options());
    Engine sound_engine(*sound, test_options());
    const auto tokens = random_tokens(300, 2);
    {
        Sequence sequence = engine.new_sequence(dense_plan(3));
        EXPECT_THROW(run(engine, sequence, tokens), Error);
    }
    Sequence sequence = engine.new_sequence(skip_plan(3, {1}));
    Sequence expected = sound_engine.new_sequence(skip_plan(3, {1}));
    for (const size_t n : {size_t{10}, size_t{1}, size_t{100}}) {
        const auto some = std::span(tokens).first(n);
        EXPECT_TRUE(same_bits(run(engine, sequence, some), run(sound_engine, expected, some)));
    }
}

TEST(DamagedWeights, HiddenStatesAreLookedAtToo) {
    const TempDir dir;
    const auto model = damaged_model(dir, tiny_llama(), {"blk.0.ffn_down.weight", k_nan});
    Engine engine(*model, test_options());
    Sequence sequence = engine.new_sequence(dense_plan(3));
    HiddenTap tap({1});
    const auto tokens = random_tokens(20, 1);
    Chunk chunk = chunk_of(sequence, tokens, Phase::prefill, Outputs::none);
    ForwardOptions options;
    options.tap = &tap;
    options.end_layer = 1;
    expect_error(ErrorKind::format, "hidden states are not numbers",
                 [&] { engine.forward(std::span(&chunk, 1), options); });
}

// Keys times 2^17 and queries divided by it give the same attention, to the bit where nothing is
// rounded to half precision; a half holds no such keys.
class LargeKeys : public testing::Test {
 protected:
    static TinyModel tiny() {
        TinyModel model = tiny_qwen2();
        model.head_dim = 32;
        return model;
    }
    LargeKeys() {
        TinyFile file = make_tiny_file(tiny());
        for (int il = 0; il < tiny().n_layers; ++il) {
            const std::string blk = "blk." + std::to_string(il) + ".";
            for (const char *part : {".weight", ".bias"}) {
                for (float &x : file.tensor(blk + "attn_k" + part).values) {
                    x *= 0x1p17f;
                }
                for (float &x : file.tensor(blk + "attn_q" + part).values) {
                    x *= 0x1p-17f;
                }
            }
        }
        file.write(dir_.file("m.gguf"));
        model_ = load_on_cpu(dir_.file("m.gguf"));
    }

    TempDir dir_;
    std::unique_ptr<Model> model_;
    std::vector<int32_t> tokens_ = random_tokens(100, 1);
};

TEST_F(LargeKeys, AreRightInAnF32Cache) {
    const auto usual = load_tiny(tiny());
    Engine engine(*model_, test_options());
    Engine expected_engine(*usual, test_options());
    Sequence sequence = engine.new_sequence(dense_plan(tiny().n_layers));
    Sequence expected = expected_engine.new_sequence(dense_plan(tiny().n_layers));
    for (const size_t n : {size_t{100}, size_t{1}, size_t{7}}) {
        const auto some = std::span(tokens_).first(n);
        EXPECT_TRUE(nmse_below(k_nmse_f32, run(engine, sequence, some),
                               run(expected_engine, expected, some)));
    }
}

TEST_F(LargeKeys, AreRefusedByAnF16CacheWithAdvice) {
    EngineOptions options = test_options();
    options.kv_type = KvType::f16;
    options.n_sequences = 2;
    Engine engine(*model_, options);
    const Plan plan = dense_plan(tiny().n_layers);
    Sequence sequence = engine.new_sequence(plan);
    expect_error(ErrorKind::limit, "keys or values of layer 0 are not finite numbers",
                 [&] { run(engine, sequence, tokens_); });
    expect_error(ErrorKind::limit, "use --kv-type f32",
                 [&] { run(engine, sequence, std::span(tokens_).first(1)); });
}

}  // namespace
}  // namespace orthorank::test
