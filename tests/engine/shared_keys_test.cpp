// Layers at the end without keys of their own, which read those of earlier ones: that of a prompt
// they compute the rows whose logits are wanted and no others, that these are what all rows would
// give, and what plans, later starts and exports may do with such layers.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "engine/engine.h"
#include "graph/segment.h"
#include "model/export_model.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/libllama_oracle.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr int k_n_layers = 8;
constexpr int k_window_source = 3;  // read by layers 5 and 6
constexpr int k_last_source = 4;    // read by layer 7

// Rows of the feed-forward network of each layer.
class RowCounter : public GraphWatch {
 public:
    void on_graph(const SegmentGraph &graph) override {
        for (int i = 0; i < ggml_graph_n_nodes(graph.gf); ++i) {
            const ggml_tensor *node = ggml_graph_node(graph.gf, i);
            for (int il = 0; il < k_n_layers; ++il) {
                const std::string name = "blk." + std::to_string(il) + ".ffn_down.weight";
                if (node->op == GGML_OP_MUL_MAT && name == ggml_get_name(node->src[0])) {
                    n_rows[static_cast<size_t>(il)] += node->ne[1];
                }
            }
        }
    }
    std::vector<int64_t> n_rows = std::vector<int64_t>(k_n_layers, 0);
};

class AttentionTap : public Tap {
 public:
    explicit AttentionTap(int layer) : layer_(layer) {}
    bool wants_hidden(int) const override { return false; }
    void on_hidden(int, size_t, std::span<const float>) override {}
    bool wants_attention(int il) const override { return il == layer_; }
    void on_attention(int, const AttentionBlock &block) override { n_rows += block.n_rows; }
    int n_rows = 0;

 private:
    int layer_;
};

class SharedKeysTest : public testing::Test {
 protected:
    SharedKeysTest() { write_tiny_gguf(tiny_architecture("gemma4e"), path_); }
    void SetUp() override { model_ = load_on_cpu(path_); }

    std::vector<int64_t> rows_of_layers(const Plan &plan, const Chunk &like, Tap *tap = nullptr,
                                        int chunk_rows = 64) {
        EngineOptions engine_options = test_options();
        engine_options.chunk_rows = chunk_rows;
        Engine engine(*model_, engine_options);
        Sequence sequence = engine.new_sequence(plan, Apply::prefill);
        Chunk chunk = like;
        chunk.sequence = &sequence;
        chunk.tokens = tokens_;
        RowCounter counter;
        ForwardOptions options;
        options.watch = &counter;
        options.tap = tap;
        run_batch(engine, std::span(&chunk, 1), options);
        return counter.n_rows;
    }
    // Of the rows from first_row on; -1: of the last one alone.
    Logits logits(const Plan &plan, int first_row, KvType kv_type = KvType::f32) {
        EngineOptions options = test_options();
        options.kv_type = kv_type;
        Engine engine(*model_, options);
        Sequence sequence = engine.new_sequence(plan, Apply::prefill);
        Chunk chunk = chunk_of(sequence, tokens_, Phase::prefill,
                               first_row < 0 ? Outputs::last : Outputs::all);
        chunk.first_output_row = std::max(0, first_row);
        return run_batch(engine, std::span(&chunk, 1)).front();
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
    std::unique_ptr<Model> model_;
    std::vector<int32_t> tokens_ = random_tokens(150, 1);
};

TEST_F(SharedKeysTest, BehindTheLastKeysOnlyWantedRowsAreComputed) {
    using Rows = std::vector<int64_t>;
    const Plan dense = dense_plan(k_n_layers);
    Chunk last;
    Chunk all;
    all.outputs = Outputs::all;
    Chunk none;
    none.outputs = Outputs::none;
    Chunk some = all;
    some.first_output_row = 120;
    EXPECT_EQ(rows_of_layers(dense, last), Rows({150, 150, 150, 150, 1, 1, 1, 1}));
    EXPECT_EQ(rows_of_layers(dense, last, nullptr, 512), Rows({150, 150, 150, 150, 1, 1, 1, 1}));
    EXPECT_EQ(rows_of_layers(dense, some), Rows({150, 150, 150, 150, 30, 30, 30, 30}));
    EXPECT_EQ(rows_of_layers(dense, none), Rows({150, 150, 150, 150, 0, 0, 0, 0}));
    EXPECT_EQ(rows_of_layers(dense, all), Rows(k_n_layers, 150));
    // A layer that picks among all rows gets them; its own rows that nobody reads are left out.
    EXPECT_EQ(rows_of_layers(select_plan(k_n_layers, {6}, 1.0), last),
              Rows({150, 150, 150, 150, 150, 150, 1, 1}));
    EXPECT_EQ(rows_of_layers(select_plan(k_n_layers, {4}, 1.0), last),
              Rows({150, 150, 150, 150, 1, 1, 1, 1}));
    EXPECT_EQ(rows_of_layers(select_plan(k_n_layers, {1}, 0.5), last),
              Rows({150, 75, 150, 150, 1, 1, 1, 1}));
    EXPECT_EQ(rows_of_layers(skip_plan(k_n_layers, {4, 7}), last),
              Rows({150, 150, 150, 1, 0, 1, 1, 0}));
    // Who looks in between sees all rows.
    HiddenTap at_the_end({k_n_layers});
    EXPECT_EQ(rows_of_layers(dense, last, &at_the_end), Rows(k_n_layers, 150));
    AttentionTap attention(6);  // the chunk with the wanted row has 22
    EXPECT_EQ(rows_of_layers(dense, last, &attention), Rows({150, 150, 150, 150, 150, 150, 22, 1}));
    EXPECT_EQ(attention.n_rows, 150);
}

// To the bit where they are enough for the same kernels.
TEST_F(SharedKeysTest, WantedRowsAreThoseOfAllRows) {
    const auto n_vocab = static_cast<size_t>(model_->hparams().n_vocab);
    for (const KvType type : {KvType::f32, KvType::f16, KvType::q8_0}) {
        SCOPED_TRACE(kv_type_name(type));
        const Logits all = logits(dense_plan(k_n_layers), 0, type);
        const auto last_rows = [&](size_t n) { return std::span(all).last(n * n_vocab); };
        EXPECT_TRUE(same_bits(logits(dense_plan(k_n_layers), 86, type), last_rows(64)));
        EXPECT_TRUE(nmse_below(type == KvType::f32 ? k_nmse_f32 : k_nmse_f16_cache,
                               logits(dense_plan(k_n_layers), -1, type), last_rows(1)));
    }
    const Plan plan = completed(select_plan(k_n_layers, {1, 6}, 0.4), model_->hparams().n_embd, 4);
    const Logits all = logits(plan, 0);
    EXPECT_TRUE(
        nmse_below(k_nmse_f32, logits(plan, 110), std::span(all).last(size_t{40} * n_vocab)));
}

TEST_F(SharedKeysTest, KeysThatOthersReadAreNotRemoved) {
    const Engine engine(*model_, test_options());
    expect_error(ErrorKind::usage, "removes layer 3, whose keys layer 5 reads", [&] {
        engine.check(skip_plan(k_n_layers, {k_window_source, 6}));
    });
    expect_error(ErrorKind::usage, "removes layer 4, whose keys layer 7 reads",
                 [&] { engine.check(skip_plan(k_n_layers, {k_last_source})); });
    engine.check(skip_plan(k_n_layers, {k_window_source, 5, 6}));
    engine.check(select_plan(k_n_layers, {k_window_source, k_last_source}, 0.3));
}

// A selecting layer has keys of all its rows, so those that read them see what they saw.
TEST_F(SharedKeysTest, ASourceMaySelect) {
    const auto rows = rows_of_layers(select_plan(k_n_layers, {k_window_source}, 0.5), Chunk{});
    EXPECT_EQ(rows[k_window_source], 75);
    Plan removed = skip_plan(k_n_layers, {5, 6, 7});
    Plan zero = removed;
    zero.layers[k_window_source] = select_plan(k_n_layers, {0}, 0.0).layers[0];
    removed.layers[k_window_source].action = Action::skip;
    EXPECT_TRUE(same_bits(logits(zero, 0), logits(removed, 0)));
}

// What enters a layer is enough to go on from there, if no layer behind it reads earlier keys.
TEST_F(SharedKeysTest, ResumingBeforeTheSourcesIsTheStraightRun) {
    const Plan plan = select_plan(k_n_layers, {k_window_source, 6}, 0.5);
    for (int layer = 1; layer <= k_window_source; ++layer) {
        SCOPED_TRACE(layer);
        Engine engine(*model_, test_options());
        Sequence sequence = engine.new_sequence(plan, Apply::prefill);
        HiddenTap tap({layer});
        const Logits expected = run(engine, sequence, tokens_, Outputs::all, &tap);
        sequence.clear();
        Chunk chunk = chunk_of(sequence, tokens_);
        chunk.hidden = tap.hidden(layer);
        ForwardOptions options;
        options.first_layer = layer;
        EXPECT_TRUE(same_bits(run_batch(engine, std::span(&chunk, 1), options).front(), expected));
    }
}

TEST_F(SharedKeysTest, TheCacheHasOnlyLayersWithKeys) {
    const Hparams &h = model_->hparams();
    int64_t bytes = 0;
    for (int il = 0; il <= k_last_source; ++il) {
        bytes += int64_t{512} * 4 * (h.n_embd_k(il) + h.n_embd_v(il));
    }
    EXPECT_EQ(kv_cache_bytes(h, KvType::f32, 512, 1), bytes);
    EXPECT_EQ(kv_layer_bytes(h, KvType::f32, 6, 512, 1), 0);
    EXPECT_EQ(Engine(*model_, test_options()).memory().kv_bytes, bytes);
    // A second timeline has all of them.
    EngineOptions options = test_options();
    options.n_sequences = 2;
    Engine engine(*model_, options);
    Sequence sequence = engine.new_sequence(dense_plan(k_n_layers));
    run(engine, sequence, tokens_);
    Sequence copy = engine.fork(sequence);
    const auto more = random_tokens(5, 2);
    EXPECT_TRUE(same_bits(run_steps(engine, copy, more), run_steps(engine, sequence, more)));
}

// A file says how many layers have no keys, and has parts for each layer outside the layers.
TEST_F(SharedKeysTest, ExportedWithoutLayers) {
    for (const std::vector<int> &removed : {std::vector<int>{5}, {0, 6, 7}, {1, 3, 5, 6}}) {
        SCOPED_TRACE(testing::PrintToString(removed));
        const std::string out = dir_.file("s" + std::to_string(removed.size()) + ".gguf");
        export_gguf(path_, out, {removed, ""});
        const Logits expected = logits(skip_plan(k_n_layers, removed), 0);
        const auto smaller = load_on_cpu(out);
        EXPECT_EQ(smaller->hparams().tail_begin(),
                  5 - static_cast<int>(std::count_if(removed.begin(), removed.end(),
                                                     [](int il) { return il < 5; })));
        Engine engine(*smaller, test_options());
        Sequence sequence = engine.new_sequence(dense_plan(smaller->hparams().n_layers));
        EXPECT_TRUE(same_bits(run(engine, sequence, tokens_), expected));
        LibllamaOracle oracle(out, 512, 1, KvType::f32);
        EXPECT_TRUE(nmse_below(k_nmse_f32, oracle.decode(tokens_, true), expected));
    }
    expect_error(ErrorKind::usage, "layer 3 cannot be left out: layer 5 reads its keys", [&] {
        export_gguf(path_, dir_.file("no.gguf"), {{k_window_source}, ""});
    });
    // Then other layers would be the sources.
    expect_error(ErrorKind::usage, "the others would be computed otherwise", [&] {
        export_gguf(path_, dir_.file("no.gguf"), {{k_last_source, 7}, ""});
    });
}

// Kernels of our own: there few rows take those of steps, however the call is cut.
TEST_F(SharedKeysTest, OwnKernelsOfFewWantedRowsAreNearGgmls) {
    TinyModel tiny = widened(tiny_architecture("gemma4e"));
    tiny.weight_type = GGML_TYPE_Q8_0;
    const auto model = load_tiny(tiny);
    const auto last_logits = [&](Kernels kernels, int chunk_rows) {
        EngineOptions options = test_options();
        options.kernels = kernels;
        options.chunk_rows = chunk_rows;
        Engine engine(*model, options);
        Sequence sequence = engine.new_sequence(dense_plan(k_n_layers));
        return run(engine, sequence, tokens_, Outputs::last);
    };
    const Logits fast = last_logits(Kernels::fast, 512);
    EXPECT_TRUE(nmse_below(k_nmse_quantised, fast, last_logits(Kernels::exact, 512)));
    EXPECT_TRUE(nmse_below(k_nmse_quantised, last_logits(Kernels::fast, 60), fast));
}

// As some files have them.
TEST_F(SharedKeysTest, QueriesKeysAndValuesMayBeOneTensor) {
    TinyFile file = make_tiny_file(tiny_architecture("gemma4e"));
    TinyTensor all = file.tensor("blk.1.attn_q.weight");
    for (const char *name : {"blk.1.attn_k.weight", "blk.1.attn_v.weight"}) {
        const TinyTensor &part = file.tensor(name);
        all.values.insert(all.values.end(), part.values.begin(), part.values.end());
        all.ne[1] += part.ne[1];
        file.remove_tensor(name);
    }
    file.remove_tensor("blk.1.attn_q.weight");
    all.name = "blk.1.attn_qkv.weight";
    file.tensors.push_back(all);
    const Logits expected = logits(dense_plan(k_n_layers), 0);
    file.write(dir_.file("fused.gguf"));
    model_ = load_on_cpu(dir_.file("fused.gguf"));
    EXPECT_TRUE(same_bits(logits(dense_plan(k_n_layers), 0), expected));
}

// Ten steps of two sequences together, one of them selecting in a layer that has no keys.
TEST_F(SharedKeysTest, BatchedStepsAreOneByOne) {
    EngineOptions options = test_options();
    options.n_sequences = 2;
    Engine engine(*model_, options);
    Engine other(*model_, options);
    const Plan plans[] = {dense_plan(k_n_layers), select_plan(k_n_layers, {0, 5}, 0.4)};
    std::vector<Sequence> together;
    std::vector<Sequence> alone;
    for (const Plan &plan : plans) {
        together.push_back(engine.new_sequence(plan));
        alone.push_back(other.new_sequence(plan));
        run(engine, together.back(), tokens_);
        run(other, alone.back(), tokens_);
    }
    for (uint64_t step = 0; step < 10; ++step) {
        const auto next = random_tokens(2, 50 + step);
        std::vector<Chunk> batch;
        for (size_t i = 0; i < 2; ++i) {
            batch.push_back(chunk_of(together[i], std::span(&next[i], 1), Phase::decode));
        }
        const std::vector<Logits> found = run_batch(engine, batch);
        for (size_t i = 0; i < 2; ++i) {
            EXPECT_TRUE(nmse_below(k_nmse_f32, found[i],
                                   run_steps(other, alone[i], std::span(&next[i], 1))));
        }
    }
}

}  // namespace
}  // namespace orthorank::test
