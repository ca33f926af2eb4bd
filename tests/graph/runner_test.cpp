// Graphs are kept by the bytes they take, those used last.
#include "graph/runner.h"

#include <gtest/gtest.h>

#include "base/resident_memory.h"
#include "support/engine_runs.h"
#include "support/memory_limit.h"

namespace orthorank::test {
namespace {

class RunnerTest : public testing::Test {
 protected:
    // A whole model over n rows of one sequence, its inputs all zero.
    SegmentGraph &run(Runner &runner, int n) const {
        SegmentShape shape;
        shape.weights = &model_.weights();
        shape.rows = {.n_rows = n, .pieces = {{0, n, 0, k_kv_padding}}};
        shape.outputs = shape.rows;
        shape.from_tokens = true;
        shape.has_head = true;
        for (int il = 0; il < model_.hparams().n_layers; ++il) {
            shape.dense_layers.push_back(il);
        }
        return runner.run(shape, [](SegmentGraph &graph) {
            for (ggml_tensor *tensor :
                 {graph.tokens, graph.cells, graph.rows.positions, graph.rows.masks.front()}) {
                const std::vector<uint8_t> zeros(ggml_nbytes(tensor), 0);
                set_input(tensor, zeros.data(), zeros.size());
            }
        });
    }

    const Model &model_ = fixture_model("tiny-llama-gqa");
    const Backends backends_{model_.devices(), 1};
    KvCache cache_{model_.hparams(),
                   std::vector(model_.hparams().layers.size(), backends_.buffer_type()),
                   KvType::f16, 256, 1};
};

TEST_F(RunnerTest, KeptGraphsTakeNoMoreThanTheirBytes) {
    cache_.open_cells(0, 256);
    Runner all(model_, cache_, backends_, nullptr);
    for (int n = 1; n <= 12; ++n) {
        run(all, n);
    }
    EXPECT_EQ(all.n_kept(), 12u);
    EXPECT_GE(all.kept_bytes(), all.compute_bytes());
    EXPECT_LT(all.kept_bytes(), k_max_kept_bytes);

    const int64_t room = all.kept_bytes() / 3;
    Runner some(model_, cache_, backends_, nullptr, room);
    for (int round = 0; round < 2; ++round) {
        for (int n = 1; n <= 12; ++n) {
            run(some, n);
            EXPECT_LE(some.kept_bytes(), room);
        }
    }
    EXPECT_GT(some.n_kept(), 1u);
    EXPECT_LT(some.n_kept(), 12u);
    const ggml_cgraph *last = run(some, 12).gf;
    run(some, 11);
    EXPECT_EQ(run(some, 12).gf, last) << "used lately, so it was kept";
}

// A server's memory is bounded by what is counted: ggml's schedulers are most of a small graph's.
TEST_F(RunnerTest, KeptGraphsTakeWhatIsCounted) {
    if (!can_limit_memory() || !peak_resident_bytes()) {
        GTEST_SKIP() << "memory is not what is asked for here";
    }
    reuse_freed_memory();
    cache_.open_cells(0, 256);
    Runner runner(model_, cache_, backends_, nullptr, /*max_kept_bytes=*/int64_t{64} << 20);
    run(runner, 1);
    const int64_t counted_before = runner.kept_bytes();
    const int64_t before = *peak_resident_bytes();
    for (int n = 2; n <= 64; ++n) {
        run(runner, n);
    }
    const auto counted = static_cast<double>(runner.kept_bytes() - counted_before);
    const auto taken = static_cast<double>(*peak_resident_bytes() - before);
    EXPECT_LT(taken, 1.2 * counted);
    EXPECT_GT(taken, 0.5 * counted);
}

TEST_F(RunnerTest, TheGraphAtHandIsKeptHoweverLarge) {
    cache_.open_cells(0, 256);
    Runner runner(model_, cache_, backends_, nullptr, 1);
    const ggml_cgraph *graph = run(runner, 4).gf;
    EXPECT_EQ(run(runner, 4).gf, graph);
    EXPECT_EQ(runner.n_kept(), 1u);
    run(runner, 5);
    EXPECT_EQ(runner.n_kept(), 1u);
}

}  // namespace
}  // namespace orthorank::test
