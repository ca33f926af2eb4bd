// The graphs that really run, counted: their matrix multiply-adds equal the cost model's to the
// last one, and the query-key pairs that their masks let through are those of the rows that were
// chosen. Arithmetic cannot creep in, nor be left out, unseen.
#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/engine.h"
#include "graph/cpu_attention.h"
#include "graph/operation_profiler.h"
#include "graph/segment.h"
#include "support/engine_runs.h"
#include "support/paths.h"
#include "support/real_models.h"
#include "timing/bounds.h"

namespace orthorank::test {
namespace {

// Of one node, 0 if it multiplies no matrices.
int64_t multiply_adds(const ggml_tensor *node) {
    switch (node->op) {
        case GGML_OP_MUL_MAT:
        case GGML_OP_MUL_MAT_ID:
            return node->src[0]->ne[0] * ggml_nelements(node);
        case GGML_OP_OUT_PROD:
            return node->src[0]->ne[1] * ggml_nelements(node);
        default:
            return 0;
    }
}

int64_t multiply_adds(ggml_cgraph *graph) {
    int64_t n = 0;
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        n += multiply_adds(ggml_graph_node(graph, i));
    }
    return n;
}

bool is_attention(const ggml_tensor *node) {
    return node->op == GGML_OP_FLASH_ATTN_EXT || node->op == GGML_OP_CUSTOM;
}

// Pairs of a query row and a key that the mask of an attention does not hide. The mask may be
// wider than there are keys.
int64_t attention_pairs(const ggml_tensor *node) {
    const ggml_tensor *mask = node->src[3];
    std::vector<uint16_t> values(static_cast<size_t>(ggml_nelements(mask)));
    ggml_backend_tensor_get(mask, values.data(), 0, values.size() * sizeof(uint16_t));
    const int64_t n_keys = node->src[1]->ne[1];
    int64_t pairs = 0;
    for (auto row = values.begin(); row != values.end(); row += mask->ne[0]) {
        pairs += std::count(row, row + n_keys, 0);
    }
    return pairs;
}

class ArithmeticCount : public GraphWatch {
 public:
    void on_graph(const SegmentGraph &graph) override {
        n_graphs += 1;
        matrix += multiply_adds(graph.gf);
        for (int i = 0; i < ggml_graph_n_nodes(graph.gf); ++i) {
            const ggml_tensor *node = ggml_graph_node(graph.gf, i);
            if (is_attention(node)) {
                n_own_attention += node->op == GGML_OP_CUSTOM;
                pairs += attention_pairs(node);
            }
        }
        if (also) {
            also(graph);
        }
    }

    int n_graphs = 0;
    int64_t matrix = 0;
    int64_t pairs = 0;        // of all layers
    int n_own_attention = 0;  // cpu_attention()
    std::function<void(const SegmentGraph &)> also;
};

// Prefills the sequence, counting.
void prefill(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens, Outputs outputs,
             ArithmeticCount &count) {
    const Chunk chunk = chunk_of(sequence, tokens, Phase::prefill, outputs);
    ForwardOptions options;
    options.watch = &count;
    run_batch(engine, std::span<const Chunk>(&chunk, 1), options);
}

int64_t matrix_multiply_adds(OperationFlops flops) {
    flops.attention = 0;  // where windows are no whole number
    const double matrix = flops.total();
    EXPECT_EQ(matrix, std::floor(matrix));
    return static_cast<int64_t>(matrix) / 2;
}

// How many keys a row of this layer sees.
int64_t keys_of_row(const ModelShape &shape, int il, int64_t position) {
    const int window = shape.layers[static_cast<size_t>(il)].window;
    return window > 0 ? std::min<int64_t>(window, position + 1) : position + 1;
}

// Query-key pairs of the rows that were computed. only_last: of the last layer's rows just the last
// position's was.
int64_t pairs_of_rows(const ModelShape &shape, const Sequence &sequence, bool only_last) {
    const int64_t n = sequence.n_past();
    int64_t pairs = 0;
    const int n_layers = sequence.plan().n_layers();
    for (int il = 0; il < n_layers; ++il) {
        const LayerPlan &layer = sequence.plan().layers[static_cast<size_t>(il)];
        for (int64_t position = 0; position < n; ++position) {
            const bool is_computed =
                layer.action == Action::dense ||
                (layer.action == Action::select &&
                 sequence.record(il).chosen[static_cast<size_t>(position)] != 0);
            const bool is_read = !only_last || il + 1 < n_layers || position + 1 == n;
            pairs += is_computed && is_read ? keys_of_row(shape, il, position) : 0;
        }
    }
    return pairs;
}

struct Case {
    std::string model;
    int chunk_rows;
};

class Arithmetic : public testing::TestWithParam<Case> {
 protected:
    Arithmetic()
        : model_(fixture_model(GetParam().model)),
          shape_(model_shape(model_)),
          engine_(model_, options()),
          tokens_(random_tokens(150, 7, model_.hparams().n_vocab)) {}

    static EngineOptions options() {
        EngineOptions options = test_options();
        options.chunk_rows = GetParam().chunk_rows;
        options.body_rows = GetParam().chunk_rows;
        return options;
    }
    int64_t n() const { return static_cast<int64_t>(tokens_.size()); }
    // A probe and corrections, also of a removed layer.
    Plan corrected() const {
        Plan plan = select_plan(shape_.n_layers(), {0, 1}, 0.4, "probe");
        plan.layers[2] = skip_plan(shape_.n_layers(), {2}).layers[2];
        return completed(plan, shape_.n_embd, 5);
    }
    std::vector<Plan> plans() const {
        const int n_layers = shape_.n_layers();
        Plan both = select_plan(n_layers, {1}, 0.4);
        both.layers[0] = skip_plan(n_layers, {0}).layers[0];
        return {dense_plan(n_layers),
                skip_plan(n_layers, {1}),
                select_plan(n_layers, {0}, 0.333),
                select_plan(n_layers, {0, 1}, 0.5),
                both,
                kept(select_plan(n_layers, {0}, 0.333)),
                kept(corrected()),
                corrected()};
    }

    static Plan kept(Plan plan) {
        plan.keep_last = 9;
        return plan;
    }

    const Model &model_;
    ModelShape shape_;
    Engine engine_;
    std::vector<int32_t> tokens_;
};

TEST_P(Arithmetic, MultiplyAddsEqualTheCostModels) {
    for (const Plan &plan : plans()) {
        for (const auto &[outputs, head] : {std::pair(Outputs::last, HeadRows::last_read),
                                            std::pair(Outputs::all, HeadRows::all)}) {
            Sequence sequence = engine_.new_sequence(plan);
            ArithmeticCount count;
            prefill(engine_, sequence, tokens_, outputs, count);
            const OperationFlops flops = prefill_operations(shape_, plan, n(), head);
            EXPECT_EQ(count.matrix, matrix_multiply_adds(flops)) << plan.name;
            EXPECT_EQ(count.pairs, pairs_of_rows(shape_, sequence, outputs == Outputs::last));
            if (plan.layers_with(Action::select).empty()) {
                EXPECT_EQ(4.0 * shape_.layers[0].n_head * shape_.layers[0].head_dim *
                              static_cast<double>(count.pairs),
                          flops.attention);
            }
        }
    }
}

// What a profile calls a node is right if the multiply-adds of each name are the cost model's.
TEST_P(Arithmetic, OperationsOfTheProfileAreTheCostModels) {
    for (const Plan &plan : plans()) {
        Sequence sequence = engine_.new_sequence(plan);
        ArithmeticCount count;
        std::array<double, k_n_operations> flops{};
        count.also = [&](const SegmentGraph &graph) {
            for (const auto &[node, operation] : operations_of(graph.gf)) {
                flops[static_cast<size_t>(operation)] += 2.0 * double(multiply_adds(node));
                EXPECT_NE(operation, Operation::other) << ggml_op_desc(node);
                EXPECT_EQ(operation == Operation::attention,
                          is_attention(node) || node->op == GGML_OP_CONCAT);
            }
        };
        prefill(engine_, sequence, tokens_, Outputs::last, count);
        const OperationFlops expected = prefill_operations(shape_, plan, n(), HeadRows::last_read);
        const auto of = [&](Operation operation) { return flops[static_cast<size_t>(operation)]; };
        EXPECT_EQ(of(Operation::kv), expected.kv);
        EXPECT_EQ(of(Operation::q_o), expected.q_o);
        EXPECT_EQ(of(Operation::ffn), expected.ffn);
        EXPECT_EQ(of(Operation::score), expected.score);
        EXPECT_EQ(of(Operation::head), expected.head);
        EXPECT_EQ(of(Operation::correction), expected.correction);
    }
}

TEST_P(Arithmetic, ProfileHasTimesOfWhatRanAndChangesNothing) {
    const Plan plan = corrected();
    Sequence sequence = engine_.new_sequence(plan);
    const Logits alone = run(engine_, sequence, tokens_, Outputs::last);
    sequence.clear();
    OperationProfiler profiler;
    ForwardOptions options;
    options.watch = &profiler;
    const Chunk chunk = chunk_of(sequence, tokens_, Phase::prefill, Outputs::last);
    EXPECT_EQ(run_batch(engine_, std::span<const Chunk>(&chunk, 1), options).front(), alone);
    for (size_t i = 0; i + 1 < k_n_operations; ++i) {  // all but `other`
        EXPECT_GT(profiler.times().seconds[i], 0.0) << k_operation_names[i];
    }
    EXPECT_EQ(profiler.times()[Operation::other], 0.0);
}

// Nobody reads its other rows: the last one is computed if it was picked.
TEST_P(Arithmetic, SelectingLastLayerComputesAtMostTheLastRow) {
    const int last = shape_.n_layers() - 1;
    std::vector<OperationFlops> of_rows;  // none, the one
    for (double ratio : {0.0, 1.0}) {
        of_rows.push_back(prefill_operations(shape_, select_plan(shape_.n_layers(), {last}, ratio),
                                             n(), HeadRows::last_read));
    }
    for (double ratio : {0.1, 0.5, 0.9}) {
        Sequence sequence = engine_.new_sequence(select_plan(shape_.n_layers(), {last}, ratio));
        ArithmeticCount count;
        prefill(engine_, sequence, tokens_, Outputs::last, count);
        const bool is_picked = sequence.record(last).chosen.back() != 0;
        EXPECT_EQ(count.matrix, matrix_multiply_adds(of_rows[is_picked ? 1 : 0]));
        EXPECT_EQ(count.pairs, pairs_of_rows(shape_, sequence, true));
    }
}

TEST_P(Arithmetic, DecodedTokenCostsOneRow) {
    Sequence sequence = engine_.new_sequence(dense_plan(shape_.n_layers()));
    run(engine_, sequence, tokens_, Outputs::last);
    ArithmeticCount count;
    prefill(engine_, sequence, std::span(tokens_).first(1), Outputs::last, count);
    EXPECT_EQ(count.n_graphs, 1);
    EXPECT_EQ(count.matrix,
              matrix_multiply_adds(prefill_operations(shape_, sequence.plan(), 1, HeadRows::all)));
    int64_t pairs = 0;
    for (int il = 0; il < shape_.n_layers(); ++il) {
        pairs += keys_of_row(shape_, il, n());
    }
    EXPECT_EQ(count.pairs, pairs);
}

std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const std::string &model : fixture_model_names()) {
        cases.push_back({model, 512});  // the prompt in one chunk
        cases.push_back({model, 64});
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Arithmetic, testing::ValuesIn(cases()), [](const auto &c) {
    return test_name(c.param.model) + "_" + std::to_string(c.param.chunk_rows);
});

TEST(ArithmeticOfTheDefaultModel, EqualsTheCostModels) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no model at " << default_model_path();
    }
    const std::unique_ptr<Model> model = load_on_cpu(default_model_path());
    const ModelShape shape = model_shape(*model);
    Engine engine(*model, test_options());
    const int n = 100;
    const std::vector<int32_t> tokens = random_tokens(n, 1, shape.n_vocab);
    const Plan plan = select_plan(shape.n_layers(), {4, 5, 12, 13, 14, 15, 17, 25, 26}, 0.333);
    Sequence sequence = engine.new_sequence(plan);
    ArithmeticCount count;
    prefill(engine, sequence, tokens, Outputs::last, count);
    EXPECT_EQ(count.matrix,
              matrix_multiply_adds(prefill_operations(shape, plan, n, HeadRows::last_read)));
    EXPECT_EQ(count.pairs, pairs_of_rows(shape, sequence, true));
    EXPECT_EQ(count.n_own_attention > 0, widest_lanes() > 0);
}

// A benchmark of such a model measured everything and then failed in the cost model.
TEST(ArithmeticOfUnevenLayers, EqualsTheCostModels) {
    TinyModel tiny = tiny_llama_gqa_tied();
    tiny.n_layers = 4;
    const TempDir dir;
    make_uneven_file(tiny).write(dir.file("m.gguf"));
    const std::unique_ptr<Model> model = load_on_cpu(dir.file("m.gguf"));
    const ModelShape shape = model_shape(*model);
    ASSERT_NE(shape.layers[0].n_ff, shape.layers[1].n_ff);
    Engine engine(*model, test_options());
    for (const Plan &plan :
         {dense_plan(4), skip_plan(4, {0}), skip_plan(4, {1}), select_plan(4, {1, 2}, 0.4)}) {
        Sequence sequence = engine.new_sequence(plan);
        ArithmeticCount count;
        prefill(engine, sequence, random_tokens(50, 3), Outputs::last, count);
        EXPECT_EQ(count.matrix,
                  matrix_multiply_adds(prefill_operations(shape, plan, 50, HeadRows::last_read)));
    }
}

// Layers whose values are their keys, layers without keys, and embeddings of layers: what is left
// out behind the last keys is what the cost model leaves out.
TEST(ArithmeticOfSharedKeys, EqualsTheCostModels) {
    for (const char *name : {"gemma4", "gemma4moe", "gemma4e"}) {
        SCOPED_TRACE(name);
        const auto model = load_tiny(tiny_architecture(name));
        const ModelShape shape = model_shape(*model);
        const int n_layers = shape.n_layers();
        Engine engine(*model, test_options());
        for (const Plan &plan :
             {dense_plan(n_layers), skip_plan(n_layers, {0, n_layers - 1}),
              select_plan(n_layers, {1, 2}, 0.4), select_plan(n_layers, {n_layers - 2}, 1.0)}) {
            for (const Outputs outputs : {Outputs::last, Outputs::all}) {
                Sequence sequence = engine.new_sequence(plan);
                ArithmeticCount count;
                prefill(engine, sequence, random_tokens(50, 3), outputs, count);
                const HeadRows head = outputs == Outputs::all ? HeadRows::all : HeadRows::last_read;
                EXPECT_EQ(count.matrix,
                          matrix_multiply_adds(prefill_operations(shape, plan, 50, head)));
            }
        }
    }
}

// Sees the first graph with one multiplication of two numbers more.
class PlantedCount : public ArithmeticCount {
 public:
    void on_graph(const SegmentGraph &graph) override {
        if (n_graphs > 0) {
            ArithmeticCount::on_graph(graph);
            return;
        }
        const ggml_context_ptr ctx(ggml_init({size_t{1} << 20, nullptr, true}));
        const int n_nodes = ggml_graph_n_nodes(graph.gf);
        SegmentGraph planted;
        planted.gf = ggml_new_graph_custom(ctx.get(), size_t(n_nodes) * 2 + 8, false);
        for (int i = 0; i < n_nodes; ++i) {
            ggml_build_forward_expand(planted.gf, ggml_graph_node(graph.gf, i));
        }
        ggml_tensor *row = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 2);
        ggml_build_forward_expand(planted.gf, ggml_mul_mat(ctx.get(), row, row));
        ArithmeticCount::on_graph(planted);
    }
};

// One more multiplication in one graph, of any size, is seen.
TEST(ArithmeticCounting, NoticesAnExtraMultiplication) {
    const Model &model = fixture_model("tiny-llama-gqa");
    const ModelShape shape = model_shape(model);
    Engine engine(model, test_options());
    const Plan plan = select_plan(shape.n_layers(), {1}, 0.4);
    Sequence sequence = engine.new_sequence(plan);
    PlantedCount count;
    prefill(engine, sequence, random_tokens(50, 3), Outputs::last, count);
    EXPECT_GT(count.n_graphs, 1);
    EXPECT_EQ(count.matrix,
              matrix_multiply_adds(prefill_operations(shape, plan, 50, HeadRows::last_read)) + 2);
    EXPECT_EQ(count.pairs, pairs_of_rows(shape, sequence, true))
        << "all nodes are in the planted graph";
}

}  // namespace
}  // namespace orthorank::test
