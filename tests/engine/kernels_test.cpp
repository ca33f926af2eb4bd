// Prompts and decoding with our own kernels: near ggml's, and the same numbers however a call is
// cut into graphs and whatever else decodes beside, for dense and selecting plans, with biases and
// norms of queries, experts included, and for weights that ggml repacks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "graph/cpu_level.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

struct Case {
    const char *name;
    TinyModel (*make)();
    ggml_type type;
    double max_nmse = k_nmse_quantised;
};

// A row whose experts are nearly equal may take another.
constexpr double k_nmse_experts = 5e-2;

std::ostream &operator<<(std::ostream &out, const Case &c) {
    return out << c.name;
}

constexpr int k_n_tokens = 75;

class FastKernels : public testing::TestWithParam<Case> {
 protected:
    void SetUp() override {
        TinyModel tiny = GetParam().make();
        tiny.weight_type = GetParam().type;
        write_tiny_gguf(tiny, path_);
        ModelOptions options;
        options.device = "CPU";
        options.plain_copies = true;
        model_ = Model::load(path_, options);
    }

    Plan selecting() const { return select_plan(model_->hparams().n_layers, {1}, 0.3); }
    Plan dense() const { return dense_plan(model_->hparams().n_layers); }

    Logits prefill(Kernels kernels, const Plan &plan, int chunk_rows, int n_tokens = k_n_tokens) {
        EngineOptions options = test_options();
        options.kernels = kernels;
        options.chunk_rows = chunk_rows;
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(plan);
        return run(engine, sequence, random_tokens(n_tokens, 5));
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
    std::unique_ptr<Model> model_;
};

TEST_P(FastKernels, AreNearGgmls) {
    const Logits exact = prefill(Kernels::exact, dense(), 512);
    const Logits fast = prefill(Kernels::fast, dense(), 512);
    EXPECT_TRUE(nmse_below(GetParam().max_nmse, fast, exact));
    if (best_cpu_level() != CpuLevel::none) {
        EXPECT_FALSE(same_bits(fast, exact)) << "ggml's computed";
    }
}

constexpr std::pair<const char *, CpuLevel> k_levels[] = {{"avx2", CpuLevel::avx2},
                                                          {"avx512", CpuLevel::avx512},
                                                          {"avx512-bf16", CpuLevel::avx512_bf16},
                                                          {"amx", CpuLevel::amx}};

TEST_P(FastKernels, UpToALevel) {
    const Logits exact = prefill(Kernels::exact, dense(), 512);
    for (const auto &[name, level] : k_levels) {
        if (level <= best_cpu_level()) {
            const Logits found = prefill(kernels_from_name(name), dense(), 512);
            EXPECT_TRUE(nmse_below(GetParam().max_nmse, found, exact)) << name;
        }
    }
}

TEST(Kernels, AreNamedByLevel) {
    for (const auto &[name, level] : k_levels) {
        if (level <= best_cpu_level()) {
            EXPECT_EQ(cpu_level_of(kernels_from_name(name)), level);
            EXPECT_EQ(kernels_text(kernels_from_name(name)),
                      std::string("fast (") + name_of(level) + ")");
        } else {
            EXPECT_THAT([name = name] { kernels_from_name(name); },
                        testing::ThrowsMessage<Error>(testing::HasSubstr(name_of(level))));
        }
    }
    EXPECT_EQ(cpu_level_of(Kernels::fast), best_cpu_level());
    EXPECT_EQ(cpu_level_of(Kernels::exact), CpuLevel::none);
    EXPECT_THAT([] { kernels_from_name("avx1024"); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("known: exact, fast; avx2")));
}

TEST_P(FastKernels, DoNotDependOnChunks) {
    for (const Plan &plan : {dense(), selecting()}) {
        const Logits whole = prefill(Kernels::fast, plan, 512);
        for (int chunk_rows : {7, 32, 70}) {
            EXPECT_TRUE(nmse_below(k_nmse_f32, prefill(Kernels::fast, plan, chunk_rows), whole))
                << chunk_rows;
        }
    }
}

TEST_P(FastKernels, AFewRowsAreNearGgmls) {
    const Logits exact = prefill(Kernels::exact, dense(), 512, 31);
    const Logits fast = prefill(Kernels::fast, dense(), 512, 31);
    EXPECT_TRUE(nmse_below(GetParam().max_nmse, fast, exact));
    const bool is_repacked = GetParam().type == GGML_TYPE_Q4_0;  // ggml's with a few rows
    const bool has_experts = model_->hparams().n_expert > 0;     // likewise
    if (best_cpu_level() != CpuLevel::none && !is_repacked && !has_experts) {
        EXPECT_FALSE(same_bits(fast, exact)) << "ggml's computed";
    }
}

TEST_P(FastKernels, StepsAreNearGgmls) {
    const std::vector<int32_t> tokens = random_tokens(40, 8);
    const auto steps = [&](Kernels kernels) {
        EngineOptions options = test_options();
        options.kernels = kernels;
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(dense());
        run(engine, sequence, random_tokens(33, 5));
        return run_steps(engine, sequence, tokens);
    };
    EXPECT_TRUE(nmse_below(GetParam().max_nmse, steps(Kernels::fast), steps(Kernels::exact)));
}

// A known continuation of many rows is decoded tokens to a plan, and rows of a prompt to a kernel.
TEST_P(FastKernels, ContinuationsTakeThoseForPrompts) {
    const std::vector<int32_t> tokens = random_tokens(40, 8);
    const auto continuation = [&](Phase phase) {
        EngineOptions options = test_options();
        options.kernels = Kernels::fast;
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(dense());
        run(engine, sequence, random_tokens(33, 5));
        const Chunk chunk = chunk_of(sequence, tokens, phase);
        return run_batch(engine, std::span(&chunk, 1)).front();
    };
    EXPECT_TRUE(same_bits(continuation(Phase::decode), continuation(Phase::prefill)));
}

TEST_P(FastKernels, SequencesDecodeAsAlone) {
    EngineOptions options = test_options();
    options.kernels = Kernels::fast;
    options.n_sequences = 3;
    Engine engine(*model_, options);
    std::vector<Sequence> sequences;
    for (int i = 0; i < options.n_sequences; ++i) {
        sequences.push_back(engine.new_sequence(dense()));
        run(engine, sequences.back(), random_tokens(33 + 5 * i, 3));
    }
    const std::vector<int32_t> token = random_tokens(1, 9);
    std::vector<Logits> expected;
    for (Sequence &sequence : sequences) {
        expected.push_back(run_steps(engine, sequence, token));
        sequence.truncate(sequence.n_past() - 1);
    }
    std::vector<Chunk> batch;
    for (Sequence &sequence : sequences) {
        batch.push_back(chunk_of(sequence, token, Phase::decode));
    }
    const std::vector<Logits> found = run_batch(engine, batch);
    for (size_t i = 0; i < batch.size(); ++i) {
        EXPECT_TRUE(nmse_below(k_nmse_f32, found[i], expected[i])) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, FastKernels,
                         testing::Values(Case{"llama_q8_0", tiny_llama, GGML_TYPE_Q8_0},
                                         Case{"llama_q4_0", tiny_llama, GGML_TYPE_Q4_0},
                                         Case{"qwen2_q8_0", tiny_qwen2, GGML_TYPE_Q8_0},
                                         Case{"qwen3_q4_1", tiny_qwen3, GGML_TYPE_Q4_1},
                                         Case{"experts_q8_0", tiny_mixtral, GGML_TYPE_Q8_0,
                                              k_nmse_experts}),
                         [](const auto &test) { return test.param.name; });

}  // namespace
}  // namespace orthorank::test
