// An engine whose memory ran short says so and goes on as if that call had never been.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/memory_limit.h"

namespace orthorank::test {
namespace {

class ShortMemory : public testing::Test {
 protected:
    void SetUp() override {
        if (!can_limit_memory()) {
            GTEST_SKIP() << "memory cannot be limited in this build";
        }
    }
};

TEST_F(ShortMemory, HiddenStatesThatCouldNotGrowWereUsedAfterTheirMemoryWasFreed) {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 2;
    tiny.n_embd = 1024;
    tiny.n_head = 16;
    tiny.n_head_kv = 1;
    tiny.n_ff = 64;
    tiny.n_ctx = 16384;
    const auto model = load_tiny(tiny);
    EngineOptions options = test_options();
    options.n_ctx = tiny.n_ctx;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(select_plan(tiny.n_layers, {1}, 0.5));
    const auto tokens = random_tokens(tiny.n_ctx, 1);
    const std::span<const int32_t> few = std::span(tokens).first(20);
    const Logits expected = run(engine, sequence, few);
    const int64_t hidden_bytes = engine.memory().hidden_bytes;

    sequence.clear();
    {
        const MemoryLimit limit(32 << 20);  // 16384 rows of 1024 numbers take 64 MiB
        expect_error(ErrorKind::limit, "no memory for the hidden states of 16385 rows",
                     [&] { run(engine, sequence, tokens, Outputs::last); });
    }
    EXPECT_EQ(sequence.n_past(), 0);
    EXPECT_LT(engine.memory().hidden_bytes, hidden_bytes);
    EXPECT_TRUE(same_bits(run(engine, sequence, few), expected));
    EXPECT_EQ(engine.memory().hidden_bytes, hidden_bytes);
}

TEST_F(ShortMemory, AGraphWithoutItsBufferWasKeptAndUsedAgain) {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 1;
    tiny.n_embd = 32;
    tiny.n_ff = 65536;
    const auto model = load_tiny(tiny);
    Engine engine(*model, test_options());
    Sequence sequence = engine.new_sequence(dense_plan(tiny.n_layers));
    const auto tokens = random_tokens(100, 2);
    const Logits of_one = run(engine, sequence, std::span(tokens).first(1));
    // 64 rows are few enough for a graph that is kept, 100 are not.
    for (const size_t n : {size_t{64}, size_t{100}}) {
        SCOPED_TRACE(n);
        const std::span<const int32_t> prompt = std::span(tokens).first(n);
        sequence.clear();
        {
            const MemoryLimit limit(24 << 20);  // twice 64 rows of 65536 numbers take 32 MiB
            expect_error(ErrorKind::limit, "no memory for a compute buffer",
                         [&] { run(engine, sequence, prompt); });
        }
        EXPECT_EQ(sequence.n_past(), 0);
        const Logits found = run(engine, sequence, prompt);
        Engine other(*model, test_options());
        Sequence fresh = other.new_sequence(dense_plan(tiny.n_layers));
        EXPECT_TRUE(same_bits(found, run(other, fresh, prompt)));
    }
    sequence.clear();
    EXPECT_TRUE(same_bits(run(engine, sequence, std::span(tokens).first(1)), of_one));
}

}  // namespace
}  // namespace orthorank::test
