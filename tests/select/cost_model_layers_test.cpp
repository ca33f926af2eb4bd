// The cost of layers that the paper's models do not have: windows, shared experts, no keys.
#include <gtest/gtest.h>

#include "select/cost_model.h"

namespace orthorank {
namespace {

LayerWidths small_layer() {
    LayerWidths layer;
    layer.n_embd = 8;
    layer.n_head = layer.n_head_kv = 2;
    layer.head_dim = 4;
    layer.n_ff = 16;
    return layer;
}

// Rows 1, 2, ... 10 see 1, 2, 3 and then 4 keys each: 34 in all. Picked rows come from positions 1
// and on, which see 33 of 9; the last row sees 4.
TEST(CostModel, AWindowIsCountedExactly) {
    LayerWidths layer = small_layer();
    const auto attention = [&](int window) {
        layer.window = window;
        return attention_flops(layer, 10) / (4.0 * 2 * 4);
    };
    EXPECT_DOUBLE_EQ(attention(0), 55);
    EXPECT_DOUBLE_EQ(attention(4), 34);
    EXPECT_DOUBLE_EQ(attention(1), 10);
    EXPECT_DOUBLE_EQ(attention(10), 55);
    const auto selected = [&](int window) {
        layer.window = window;
        return select_layer_flops(layer, 10, 0.3) / (4.0 * 2 * 4);
    };
    EXPECT_DOUBLE_EQ(selected(0) - selected(4), 3 * (6.0 - 33.0 / 9.0));
}

// 6 d f more for every computed row.
TEST(CostModel, ASharedExpertIsComputedForEveryRow) {
    LayerWidths layer = small_layer();
    layer.n_expert = 4;
    layer.n_expert_used = 2;
    const double without = dense_layer_flops(layer, 10);
    layer.n_ff_shared = 24;
    EXPECT_DOUBLE_EQ(dense_layer_flops(layer, 10) - without, 10 * 6.0 * 8 * 24);
}

// A tail of three layers without keys behind two with: of a prompt of 10 whose last logits are
// wanted, the second and those behind compute one row, which sees 10 keys.
TEST(CostModel, BehindTheLastKeysTheLastRowIsComputed) {
    ModelShape shape;
    shape.n_vocab = 100;
    shape.layers.assign(5, small_layer());
    for (LayerWidths &layer : shape.layers) {
        layer.n_head_kv = 1;
    }
    for (size_t il = 2; il < 5; ++il) {
        shape.layers[il].n_kv_matrices = 0;
    }
    const double kv = 4.0 * 8 * 4;
    const double q_o = 4.0 * 8 * 8;
    const double ffn = 6.0 * 8 * 16;
    const double attention = 4.0 * 2 * 4;
    const OperationFlops dense = prefill_operations(shape, dense_plan(5), 10, HeadRows::last_read);
    EXPECT_DOUBLE_EQ(dense.kv, 2 * 10 * kv);
    EXPECT_DOUBLE_EQ(dense.q_o, (10 + 4) * q_o);
    EXPECT_DOUBLE_EQ(dense.ffn, (10 + 4) * ffn);
    EXPECT_DOUBLE_EQ(dense.attention, (55 + 4 * 10) * attention);
    EXPECT_DOUBLE_EQ(prefill_operations(shape, dense_plan(5), 10, HeadRows::all).ffn, 50 * ffn);
    // A layer there that picks among all rows needs those of the layers before it.
    Plan plan = dense_plan(5);
    plan.layers[3].action = Action::select;
    plan.layers[3].ratio = 1.0;
    EXPECT_DOUBLE_EQ(prefill_operations(shape, plan, 10, HeadRows::last_read).ffn, (30 + 2) * ffn);
    // Three projections of each row's own embedding.
    shape.layers[0].n_embd_per_layer = 4;
    EXPECT_DOUBLE_EQ(prefill_operations(shape, dense_plan(5), 10, HeadRows::last_read).ffn,
                     dense.ffn + 10 * 6.0 * 8 * 4);
}

// Of a prompt of one token the sink alone is there, which is never picked.
TEST(CostModelLayers, OneTokenHasABound) {
    ModelShape shape;
    shape.n_vocab = 100;
    shape.layers.assign(2, small_layer());
    Plan plan = dense_plan(2);
    plan.layers[1] = {Action::select, 0.5, Policy{}};
    const double bound = prefill_speed_up_bound(shape, plan, 1, HeadRows::last_read);
    EXPECT_GE(bound, 1.0);
    EXPECT_TRUE(std::isfinite(bound)) << bound;
}

}  // namespace
}  // namespace orthorank
