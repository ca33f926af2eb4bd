// Dense logits against libllama on the same file, for every architecture: prompts longer than one
// chunk and decode steps, to the bit, since the shapes agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/libllama_oracle.h"
#include "support/paths.h"
#include "support/program.h"

namespace orthorank::test {
namespace {

EngineOptions oracle_options(int n_ctx, KvType kv_type) {
    EngineOptions options;
    options.n_ctx = n_ctx;
    options.n_threads = 1;
    options.kv_type = kv_type;
    options.kernels = Kernels::exact;
    return options;
}

struct OracleCase {
    KvType kv_type = KvType::f16;
    int n_prompt = 700;  // more than a chunk
    int n_ctx = 1024;    // at most
    size_t n_steps = 16;
    bool has_same_bits = true;  // F16 and Q8_0: the same operations on both sides
    double nmse_otherwise = k_nmse_f32;
    double nmse_across_shapes = k_nmse_f16_cache;
};

void expect_libllama(const std::string &path, const OracleCase &oracle_case) {
    SCOPED_TRACE(testing::Message() << kv_type_name(oracle_case.kv_type));
    const auto model = load_on_cpu(path);
    const int n_ctx = std::min(oracle_case.n_ctx, model->hparams().n_ctx_train);
    Engine engine(*model, oracle_options(n_ctx, oracle_case.kv_type));
    LibllamaOracle oracle(path, n_ctx, 1, oracle_case.kv_type);
    Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
    const auto tokens =
        random_tokens(std::min(n_ctx, oracle_case.n_prompt), 71, model->hparams().n_vocab);
    const std::span<const int32_t> all(tokens);
    const auto expect_same = [&](const Logits &found, const Logits &expected) {
        // With an F32 cache libllama computes attention by other operations (see the oracle).
        if (oracle_case.kv_type == KvType::f32 || !oracle_case.has_same_bits) {
            EXPECT_TRUE(nmse_below(oracle_case.nmse_otherwise, found, expected));
        } else {
            EXPECT_TRUE(same_bits(found, expected));
        }
    };
    expect_same(run(engine, sequence, all.first(64)), oracle.decode(all.first(64), true));
    const size_t n_first = 64 + oracle_case.n_steps;
    for (size_t i = 64; i < n_first; ++i) {
        expect_same(run_steps(engine, sequence, all.subspan(i, 1)),
                    oracle.decode(all.subspan(i, 1), true));
    }
    // A second turn.
    expect_same(run(engine, sequence, all.subspan(n_first, 20)),
                oracle.decode(all.subspan(n_first, 20), true));
    sequence.clear();
    oracle.clear();
    expect_same(run(engine, sequence, all), oracle.decode(all, true));
    // The last layer's attention runs over the output row only here, over all there.
    sequence.clear();
    oracle.clear();
    EXPECT_TRUE(nmse_below(oracle_case.nmse_across_shapes,
                           run(engine, sequence, all, Outputs::last), oracle.decode(all, false)));
}

class FixtureOracleTest : public testing::TestWithParam<std::string> {};

TEST_P(FixtureOracleTest, DenseLogitsAreLibllamas) {
    const std::string path = fixture_path("models/" + GetParam() + ".gguf");
    expect_libllama(path, {KvType::f16});
    expect_libllama(path, {.kv_type = KvType::f32, .nmse_across_shapes = k_nmse_f32});
}

INSTANTIATE_TEST_SUITE_P(All, FixtureOracleTest, testing::ValuesIn(fixture_model_names()),
                         [](const auto &test) { return test_name(test.param); });

class TinyOracleTest : public testing::TestWithParam<TinyModel> {};

TEST_P(TinyOracleTest, DenseLogitsAreLibllamas) {
    const TempDir dir;
    write_tiny_gguf(GetParam(), dir.file("tiny.gguf"));
    expect_libllama(dir.file("tiny.gguf"), {KvType::f16});
    if (GetParam().head_dim % 32 == 0 && GetParam().head_dim > 0) {
        expect_libllama(dir.file("tiny.gguf"), {KvType::q8_0});
    }
}

TEST_P(TinyOracleTest, QuantisedTooWithRowsOf256) {
    const TempDir dir;
    for (const ggml_type type :
         {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_BF16, GGML_TYPE_F16}) {
        SCOPED_TRACE(ggml_type_name(type));
        TinyModel model = widened(GetParam());
        model.weight_type = type;
        write_tiny_gguf(model, dir.file("tiny.gguf"));
        expect_libllama(dir.file("tiny.gguf"),
                        {.n_prompt = 120, .nmse_across_shapes = k_nmse_quantised});
    }
}

INSTANTIATE_TEST_SUITE_P(All, TinyOracleTest, testing::ValuesIn(tiny_models()),
                         [](const auto &test) { return test.param.name; });

class ArchitectureOracleTest : public testing::TestWithParam<TinyModel> {
 protected:
    // libllama gates the shared expert with silu(x) / x, which is no number at 0.
    OracleCase oracle_case_{
        .n_prompt = 530, .n_steps = 64, .has_same_bits = !GetParam().has_shared_gate};
    TempDir dir_;
    std::string path_ = dir_.file("tiny.gguf");
};

TEST_P(ArchitectureOracleTest, DenseLogitsAreLibllamas) {
    write_tiny_gguf(GetParam(), path_);
    expect_libllama(path_, oracle_case_);
    oracle_case_.n_prompt = 160;
    if (GetParam().head_dim % 32 == 0 && GetParam().head_dim > 0) {
        oracle_case_.kv_type = KvType::q8_0;
        expect_libllama(path_, oracle_case_);
    }
    oracle_case_.kv_type = KvType::f32;
    oracle_case_.nmse_across_shapes = k_nmse_f32;
    expect_libllama(path_, oracle_case_);
}

TEST_P(ArchitectureOracleTest, QuantisedTooWithRowsOf256) {
    TinyModel model = widened(GetParam());
    model.weight_type = GGML_TYPE_Q4_0;
    write_tiny_gguf(model, path_);
    oracle_case_.n_prompt = 100;
    oracle_case_.n_ctx = 512;  // the short contexts of models that tell them apart
    oracle_case_.n_steps = 16;
    oracle_case_.nmse_otherwise = oracle_case_.nmse_across_shapes = k_nmse_quantised;
    expect_libllama(path_, oracle_case_);
}

// Libllama's own files have every key that it knows, also where it says that there is nothing.
class SavedByLibllamaTest : public testing::TestWithParam<TinyModel> {};

TEST_P(SavedByLibllamaTest, IsTheSameModel) {
    const TempDir dir;
    const std::string path = dir.file("tiny.gguf"), saved = dir.file("saved.gguf");
    write_tiny_gguf(GetParam(), path);
    save_by_libllama(path, saved);
    const auto logits_of = [](const std::string &file) {
        const auto model = load_on_cpu(file);
        Engine engine(*model, oracle_options(512, KvType::f16));
        Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
        return run(engine, sequence, random_tokens(60, 3));
    };
    EXPECT_TRUE(same_bits(logits_of(saved), logits_of(path)));
}

INSTANTIATE_TEST_SUITE_P(All, SavedByLibllamaTest, testing::ValuesIn(tiny_models()),
                         [](const auto &test) { return test.param.name; });
// Libllama does not write how many layers have no keys.
std::vector<TinyModel> those_with_keys(std::vector<TinyModel> models) {
    std::erase_if(models, [](const TinyModel &model) { return model.n_without_keys > 0; });
    return models;
}

INSTANTIATE_TEST_SUITE_P(Tiny, SavedByLibllamaTest,
                         testing::ValuesIn(those_with_keys(tiny_architectures())),
                         [](const auto &test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(Tiny, ArchitectureOracleTest, testing::ValuesIn(tiny_architectures()),
                         [](const auto &test) { return test.param.name; });

// As gpt-oss's files have them.
TEST(Mxfp4OracleTest, ExpertsAreLibllamas) {
    const TempDir dir;
    TinyModel model = widened(tiny_architecture("gpt_oss"));
    model.weight_type = GGML_TYPE_Q8_0;
    model.expert_type = GGML_TYPE_MXFP4;
    write_tiny_gguf(model, dir.file("tiny.gguf"));
    expect_libllama(dir.file("tiny.gguf"),
                    {.n_prompt = 120, .nmse_across_shapes = k_nmse_quantised});
}

// More nodes than graphs had room for: each used expert adds a view and an addition.
TEST(ManyExpertsOracleTest, AHundredUsedExpertsOverflowedTheGraph) {
    const TempDir dir;
    TinyModel model = tiny_mixtral();
    model.n_ff = 32;
    model.n_expert = 128;
    model.n_expert_used = 100;
    write_tiny_gguf(model, dir.file("tiny.gguf"));
    expect_libllama(dir.file("tiny.gguf"), {.n_prompt = 120});
}

// tools/synthetic_gguf writes files that both load, in types of every block size.
TEST(SyntheticOracleTest, DenseLogitsAreLibllamas) {
    const TempDir dir;
    for (const std::string type : {"q4_k", "q4_0", "bf16"}) {
        SCOPED_TRACE(type);
        const std::string path = dir.file(type + ".gguf");
        const ProgramResult made =
            run_program(ORTHORANK_SYNTHETIC_GGUF,
                        {path, "--shape", "256,2,4,2,512,320", "--type", type, "--ctx", "1024"});
        ASSERT_EQ(made.exit_code, 0) << made.err;
        expect_libllama(path, {.n_prompt = 120, .nmse_across_shapes = k_nmse_quantised});
    }
}

TEST(SyntheticOracleTest, LayersWithoutKeysToo) {
    const TempDir dir;
    const std::string path = dir.file("e.gguf");
    const ProgramResult made = run_program(
        ORTHORANK_SYNTHETIC_GGUF,
        {path, "--shape", "256,8,4,1,512,320,32,3,32", "--type", "q4_0", "--ctx", "1024"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    expect_libllama(path, {.n_prompt = 700, .nmse_across_shapes = k_nmse_quantised});
}

TEST(SyntheticOracleTest, WhatDoesNotFitIsOneLine) {
    const TempDir dir;
    const std::vector<std::vector<std::string>> cases = {{"--shape", "64,2,4,2,128"},
                                                         {"--shape", "66,2,4,2,128,300"},
                                                         {"--shape", "64,2,4,2,0,300"},
                                                         {"--shape", "64,2,4,2,128,9"},
                                                         {"--shape", "64,2,4,3,128,300"},
                                                         {"--shape", "64,8,4,1,128,300,32,4,32"},
                                                         {"--type", "q9"},
                                                         {"--type", "file"},
                                                         {"--ctx", "x"},
                                                         {"--what", "1"}};
    for (std::vector<std::string> arguments : cases) {
        SCOPED_TRACE(testing::PrintToString(arguments));
        arguments.insert(arguments.begin(), dir.file("out.gguf"));
        const ProgramResult result = run_program(ORTHORANK_SYNTHETIC_GGUF, arguments);
        EXPECT_EQ(result.exit_code, 1);
        EXPECT_TRUE(result.err.starts_with("synthetic_gguf: ")) << result.err;
        EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    }
    EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
    const ProgramResult help =
        run_program(ORTHORANK_SYNTHETIC_GGUF, {"--help"});  // was a file name
    EXPECT_EQ(help.exit_code, 1);
    EXPECT_TRUE(help.err.starts_with("synthetic_gguf: usage: ")) << help.err;
}

// Rope scaling of every kind.
TEST(RopeOracleTest, ScalingIsLibllamas) {
    const TempDir dir;
    for (const char *scaling : {"linear", "yarn", "none"}) {
        TinyModel model = tiny_llama();
        model.rope_scaling = scaling;
        model.rope_factor = 4;
        write_tiny_gguf(model, dir.file("tiny.gguf"));
        SCOPED_TRACE(scaling);
        expect_libllama(dir.file("tiny.gguf"), {KvType::f16});
    }
}

}  // namespace
}  // namespace orthorank::test
