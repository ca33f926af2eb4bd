#include "select/cost_model.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

constexpr int64_t k_n = 2048;
constexpr double k_ratio = 0.333;

ModelShape shape_of(int n_layers, int n_embd, int n_head, int n_head_kv, int n_ff, int n_vocab) {
    LayerWidths layer;
    layer.n_embd = n_embd;
    layer.n_head = n_head;
    layer.n_head_kv = n_head_kv;
    layer.head_dim = n_embd / n_head;
    layer.n_ff = n_ff;
    return {n_embd, n_vocab, std::vector<LayerWidths>(static_cast<size_t>(n_layers), layer)};
}

ModelShape mixtral() {
    ModelShape shape = shape_of(32, 4096, 32, 8, 14336, 32000);
    for (LayerWidths &layer : shape.layers) {
        layer.n_expert = 8;
        layer.n_expert_used = 2;
    }
    return shape;
}

// The models of the specification's tables, section 9, in their order.
const std::vector<std::pair<const char *, ModelShape>> k_models = {
    {"Llama-2-7B", shape_of(32, 4096, 32, 32, 11008, 32000)},
    {"Llama-2-13B", shape_of(40, 5120, 40, 40, 13824, 32000)},
    {"Llama-2-70B", shape_of(80, 8192, 64, 8, 28672, 32000)},
    {"Llama-3-8B", shape_of(32, 4096, 32, 8, 14336, 128256)},
    {"Llama-3.1-70B", shape_of(80, 8192, 64, 8, 28672, 128256)},
    {"Mistral-7B", shape_of(32, 4096, 32, 8, 14336, 32000)},
    {"Mixtral-8x7B", mixtral()},
    {"SmolLM2-135M", shape_of(30, 576, 9, 3, 1536, 49152)},
};

Plan plan_with(int n_layers, int n_skip, int n_select) {
    Plan plan = dense_plan(n_layers);
    for (int il = 0; il < n_skip + n_select; ++il) {
        plan.layers[il].action = il < n_skip ? Action::skip : Action::select;
        plan.layers[il].ratio = il < n_skip ? 1.0 : k_ratio;
    }
    return plan;
}

// As the tables print it: .4388 for 0.4388.
std::string without_zero(std::string text) {
    return text[0] == '0' ? text.substr(1) : text;
}

TEST(CostModel, TableOfLayers) {
    const char *const expected[] = {
        "863.3 .159 .040 .4388 536.9 28.16",    "1342.2 .160 .032 .4393 671.1 54.36",
        "3573.4 .019 .019 .3454 1073.7 286.95", "927.7 .037 .037 .3573 2151.8 31.84",
        "3573.4 .019 .019 .3454 4303.6 290.18", "927.7 .037 .037 .3573 536.9 30.22",
        "1649.4 .021 .021 .3464 536.9 53.32",   "19.3 .047 .250 .3640 116.0 0.70",
    };
    for (size_t i = 0; i < k_models.size(); ++i) {
        const ModelShape &shape = k_models[i].second;
        const double layer = dense_layer_flops(shape.layers[0], k_n);
        const Plan dense = dense_plan(shape.n_layers());
        const std::string line = fmt::format(
            "{:.1f} {} {} {} {:.1f} {:.2f}", layer / 1e9,
            without_zero(fmt::format("{:.3f}", kv_projection_flops(shape.layers[0], k_n) / layer)),
            without_zero(fmt::format("{:.3f}", attention_flops(shape.layers[0], k_n) / layer)),
            without_zero(
                fmt::format("{:.4f}", select_layer_flops(shape.layers[0], k_n, k_ratio) / layer)),
            head_flops(shape, k_n) / 1e9, prefill_flops(shape, dense, k_n, HeadRows::all) / 1e12);
        EXPECT_EQ(line, expected[i]) << k_models[i].first;
    }
}

// Layers of the SLEB and OrthoRank plans at 10% and 20%, and the four pairs of speed-ups.
struct SpeedUpRow {
    int skip_10, skip_20, select_10, select_20;
    const char *text;
};

TEST(CostModel, TableOfSpeedUps) {
    const SpeedUpRow rows[] = {
        {3, 6, 5, 10, "1.101/1.094 1.225/1.208 1.103/1.096 1.231/1.213"},
        {4, 8, 6, 12, "1.110/1.091 1.246/1.199 1.111/1.092 1.250/1.202"},
        {8, 16, 12, 24, "1.111/1.108 1.249/1.243 1.111/1.109 1.250/1.244"},
        {3, 6, 5, 10, "1.096/1.103 1.212/1.230 1.103/1.112 1.231/1.251"},
        {8, 16, 12, 24, "1.109/1.107 1.245/1.240 1.111/1.109 1.250/1.244"},
        {3, 6, 5, 10, "1.101/1.109 1.226/1.246 1.103/1.112 1.231/1.251"},
        {3, 6, 5, 10, "1.102/1.112 1.228/1.253 1.103/1.114 1.231/1.257"},
        {3, 6, 5, 9, "1.091/1.097 1.200/1.189 1.111/1.119 1.250/1.236"},
    };
    for (size_t i = 0; i < k_models.size(); ++i) {
        const auto &[name, shape] = k_models[i];
        const SpeedUpRow &row = rows[i];
        const auto pair = [&shape](int n_skip, int n_select, HeadRows head) {
            const auto bound = [&](const Plan &plan) {
                return prefill_speed_up_bound(shape, plan, k_n, head);
            };
            return fmt::format("{:.3f}/{:.3f}", bound(plan_with(shape.n_layers(), n_skip, 0)),
                               bound(plan_with(shape.n_layers(), 0, n_select)));
        };
        const std::string line = pair(row.skip_10, row.select_10, HeadRows::all) + " " +
                                 pair(row.skip_20, row.select_20, HeadRows::all) + " " +
                                 pair(row.skip_10, row.select_10, HeadRows::last) + " " +
                                 pair(row.skip_20, row.select_20, HeadRows::last);
        EXPECT_EQ(line, row.text) << name;
    }
}

// The ideal counts, 10 / 20% of the layers removed and 15 / 30% selecting, need not be whole.
TEST(CostModel, TableOfIdealCounts) {
    const char *const expected[] = {
        "1.109/1.090 1.244/1.198 1.111/1.092 1.250/1.202",
        "1.110/1.091 1.246/1.199 1.111/1.092 1.250/1.202",
        "1.111/1.108 1.249/1.243 1.111/1.109 1.250/1.244",
        "1.103/1.099 1.229/1.219 1.111/1.107 1.250/1.239",
        "1.109/1.107 1.245/1.240 1.111/1.109 1.250/1.244",
        "1.109/1.105 1.244/1.234 1.111/1.107 1.250/1.239",
        "1.110/1.107 1.247/1.241 1.111/1.109 1.250/1.244",
        "1.091/1.086 1.200/1.189 1.111/1.105 1.250/1.236",
    };
    for (size_t i = 0; i < k_models.size(); ++i) {
        const ModelShape &shape = k_models[i].second;
        const double dense = dense_layer_flops(shape.layers[0], k_n);
        const double select = select_layer_flops(shape.layers[0], k_n, k_ratio);
        std::string line;
        for (int64_t n_head_rows : {k_n, int64_t{1}}) {
            const double head = head_flops(shape, n_head_rows);
            const double total = shape.n_layers() * dense + head;
            for (double removed : {0.1, 0.2}) {
                const double selecting = 1.5 * removed * shape.n_layers();
                line += fmt::format("{:.3f}/{:.3f} ",
                                    total / (total - removed * shape.n_layers() * dense),
                                    total / (total - selecting * (dense - select)));
            }
        }
        EXPECT_EQ(line, std::string(expected[i]) + " ") << k_models[i].first;
    }
}

// 9 instead of 10 layers of 32 at 20%, the line under the tables.
TEST(CostModel, NineLayersOfThirtyTwo) {
    const auto pair = [](const ModelShape &shape) {
        const Plan plan = plan_with(32, 0, 9);
        return fmt::format("{:.3f}/{:.3f}", prefill_speed_up_bound(shape, plan, k_n, HeadRows::all),
                           prefill_speed_up_bound(shape, plan, k_n, HeadRows::last));
    };
    EXPECT_EQ(pair(k_models[0].second), "1.183/1.187");
    EXPECT_EQ(pair(k_models[3].second), "1.203/1.221");
    EXPECT_EQ(pair(k_models[5].second), "1.216/1.221");
    EXPECT_EQ(pair(k_models[6].second), "1.222/1.225");
}

TEST(CostModel, EndsOfTheRatio) {
    const ModelShape &shape = k_models[7].second;
    const double score = 2.0 * k_n * shape.n_embd;
    EXPECT_DOUBLE_EQ(select_layer_flops(shape.layers[0], k_n, 1.0),
                     dense_layer_flops(shape.layers[0], k_n) + score);
    EXPECT_DOUBLE_EQ(select_layer_flops(shape.layers[0], k_n, 0.0),
                     kv_projection_flops(shape.layers[0], k_n) + score);
    EXPECT_EQ(prefill_flops(shape, dense_plan(30), 0, HeadRows::last), 0.0);
    EXPECT_THROW(prefill_flops(shape, dense_plan(29), k_n, HeadRows::all), InternalError);
}

// Each layer is counted by its own widths: a narrow one that is removed saves little.
TEST(CostModel, LayersOfDifferentWidths) {
    ModelShape shape = shape_of(2, 64, 4, 2, 128, 100);
    shape.layers[0].n_ff = 64;
    shape.layers[0].n_head = 2;
    shape.layers[0].n_head_kv = 1;
    // One row: 4 d Hkv hd, 4 d Hq hd, 4 Hq hd, 6 d f.
    const double narrow = 4 * 64 * 16 + 4 * 64 * 32 + 4 * 32 + 6 * 64 * 64;
    const double wide = 4 * 64 * 32 + 4 * 64 * 64 + 4 * 64 + 6 * 64 * 128;
    const double head = 2 * 64 * 100;
    EXPECT_EQ(prefill_flops(shape, dense_plan(2), 1, HeadRows::last), narrow + wide + head);
    Plan plan = dense_plan(2);
    plan.layers[0].action = Action::skip;
    EXPECT_EQ(prefill_flops(shape, plan, 1, HeadRows::last), wide + head);
    EXPECT_EQ(prefill_operations(shape, plan, 1, HeadRows::last).ffn, 6.0 * 64 * 128);
}

// Two bytes a weight: Wk and Wv, the rest of the layer, no cache, no head.
DecodeBytes weights_only(const ModelShape &shape) {
    const LayerWidths &widths = shape.layers[0];
    const double d = widths.n_embd;
    LayerBytes layer;
    layer.kv_weights = 4.0 * d * widths.n_head_kv * widths.head_dim;
    layer.q_o_weights = 4.0 * d * widths.n_head * widths.head_dim;
    layer.ffn_weights = 6.0 * d * widths.n_ff;
    DecodeBytes bytes;
    bytes.layers.assign(shape.layers.size(), layer);
    return bytes;
}

// The specification prints the shares 2048 / 53248 = .03846 as .039 and .0625 as .063; the traffic
// agrees to every digit.
TEST(CostModel, WeightTrafficOfADecodedToken) {
    const std::pair<size_t, const char *> expected[] = {{0, ".166 .444"}, {1, ".165 .443"},
                                                        {2, ".020 .346"}, {3, ".038 .359"},
                                                        {5, ".038 .359"}, {7, ".062 .375"}};
    for (const auto &[model, text] : expected) {
        const ModelShape &shape = k_models[model].second;
        const DecodeBytes bytes = weights_only(shape);
        const LayerBytes &layer = bytes.layers[0];
        const double share =
            layer.kv_weights / (layer.kv_weights + layer.q_o_weights + layer.ffn_weights);
        const double traffic =
            decode_step_bytes(bytes, plan_with(shape.n_layers(), 0, shape.n_layers())) /
            decode_step_bytes(bytes, dense_plan(shape.n_layers()));
        EXPECT_EQ(without_zero(fmt::format("{:.3f}", share)) + " " +
                      without_zero(fmt::format("{:.3f}", traffic)),
                  text)
            << k_models[model].first;
    }
}

TEST(CostModel, DecodeBytesByHand) {
    DecodeBytes bytes;
    bytes.layers.assign(3, {10.0, 30.0, 70.0, 7.0});
    bytes.head = 1000.0;
    Plan plan = dense_plan(3);
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan), 1000 + 3 * 117);
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan, 4), 1000 + 3 * (110 + 4 * 7));
    plan.layers[0].action = Action::skip;
    plan.layers[1] = {Action::select, 0.5, Policy{}};
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan), 1000 + 117 + 10 + 50 + 3.5);
    // Batch of 2: some token is picked with 1 - 0.5^2.
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan, 2), 1000 + 110 + 14 + 10 + 75 + 7);
    EXPECT_DOUBLE_EQ(decode_speed_up_bound(bytes, plan), 1351.0 / 1180.5);
    // Attention of every row, for its score: 30 + 7, and the rest of a picked one.
    plan.layers[1].policy = policy_from_name("attention-output");
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan), 1000 + 117 + 10 + 30 + 35 + 7);
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan, 2), 1000 + 110 + 14 + 10 + 30 + 0.75 * 70 + 14);
    EXPECT_THROW(decode_step_bytes(bytes, dense_plan(2)), InternalError);
}

LayerPlan with_correction(LayerPlan layer, int n_embd, int rank) {
    Correction correction;
    correction.n_embd = n_embd;
    correction.rank = rank;
    layer.correction = std::make_shared<const Correction>(correction);
    return layer;
}

// Two multiplications by 576 x 64: 147,456 FLOPs a row, for the rows that are neither computed nor
// the sink.
TEST(CostModel, CorrectionByHand) {
    const ModelShape &shape = k_models[7].second;
    LayerPlan select{Action::select, k_ratio, Policy{}};
    LayerPlan skip;
    skip.action = Action::skip;
    EXPECT_EQ(correction_flops(shape, select, k_n), 0.0);
    const LayerPlan with = with_correction(select, 576, 64);
    EXPECT_EQ(correction_flops(shape, with, k_n), 147456.0 * (2048 - 681 - 1));
    EXPECT_EQ(correction_flops(shape, with, 1), 0.0);
    EXPECT_EQ(correction_flops(shape, with, 0), 0.0);
    EXPECT_EQ(correction_flops(shape, with_correction(skip, 576, 64), k_n), 147456.0 * 2047);
    EXPECT_EQ(correction_flops(shape, with_correction(skip, 576, 0), k_n), 0.0);
    select.ratio = 1.0;
    EXPECT_EQ(correction_flops(shape, with_correction(select, 576, 64), k_n), 0.0);

    Plan plan = plan_with(30, 1, 9);
    const double plain = prefill_flops(shape, plan, k_n, HeadRows::last);
    const double plain_bound = prefill_speed_up_bound(shape, plan, k_n, HeadRows::last);
    for (int il = 0; il < 10; ++il) {
        plan.layers[il] = with_correction(plan.layers[il], 576, 64);
    }
    EXPECT_DOUBLE_EQ(prefill_flops(shape, plan, k_n, HeadRows::last),
                     plain + 147456.0 * (2047 + 9 * 1366));
    EXPECT_LT(prefill_speed_up_bound(shape, plan, k_n, HeadRows::last), plain_bound);
}

TEST(CostModel, DecodeBytesOfCorrectionsByHand) {
    DecodeBytes bytes;
    bytes.layers.assign(3, {10.0, 30.0, 70.0, 7.0});
    bytes.head = 1000.0;
    Plan plan = dense_plan(3);
    plan.layers[0].action = Action::skip;
    plan.layers[1] = {Action::select, 0.25, Policy{}};
    const double plain = decode_step_bytes(bytes, plan);
    const double plain_of_two = decode_step_bytes(bytes, plan, 2);
    plan.layers[0] = with_correction(plan.layers[0], 8, 3);  // 48 values and a bias of 32 bytes
    plan.layers[1] = with_correction(plan.layers[1], 8, 0);
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan), plain + 96 + 32 + 0.75 * 32);
    // Batch of 2: some token is not picked with 1 - 0.25^2.
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan, 2), plain_of_two + 96 + 32 + 0.9375 * 32);
    bytes.correction_element = 4;
    EXPECT_DOUBLE_EQ(decode_step_bytes(bytes, plan), plain + 192 + 32 + 0.75 * 32);
    EXPECT_DOUBLE_EQ(decode_speed_up_bound(bytes, plan), 1351.0 / (plain + 248));
}

// 100 rows, the last 20 kept: 20 of the 80 before are picked, whose queries see 41 keys on average;
// those of the kept ones see 90.5.
TEST(CostModel, KeptRowsByHand) {
    const ModelShape &shape = k_models[7].second;
    const LayerWidths &widths = shape.layers.front();
    const double of_row = select_layer_flops(widths, 100, 0.25, 20) -
                          select_layer_flops(widths, 100, 0.0, 0) -
                          4.0 * widths.n_head * widths.head_dim * (20 * 41.0 + 20 * 90.5);
    const double expected = 40.0 * (4.0 * widths.n_embd * widths.n_head * widths.head_dim +
                                    6.0 * widths.n_embd * widths.n_ff);
    EXPECT_NEAR(of_row, expected, 1e-9 * expected);
    EXPECT_DOUBLE_EQ(select_layer_flops(widths, 100, 0.25, 100),
                     select_layer_flops(widths, 100, 1.0, 0))
        << "dense";
    const LayerPlan with = with_correction({Action::select, 0.25, Policy{}}, 576, 64);
    EXPECT_EQ(correction_flops(shape, with, 100, 20), 147456.0 * (80 - 20 - 1));
    EXPECT_EQ(correction_flops(shape, with, 100, 100), 0.0);
}

// What scores take beside the rows that are picked, of 100 rows.
TEST(CostModel, ScoresByHand) {
    const LayerWidths &widths = k_models[7].second.layers.front();
    const double q_o = 4.0 * widths.n_embd * widths.n_head * widths.head_dim;
    const double a_key = 4.0 * widths.n_head * widths.head_dim;
    const double unscored = select_layer_flops(widths, 100, 0.25, 0, policy_from_name("inherit"));
    const auto cost = [&](const char *name, int window = 0) {
        Policy policy = policy_from_name(name);
        policy.window = window;
        return select_layer_flops(widths, 100, 0.25, 0, policy) - unscored;
    };
    EXPECT_EQ(cost("random"), 0.0);
    for (const char *name : {"orthogonal", "norm-up", "cosine", "probe"}) {
        EXPECT_DOUBLE_EQ(cost(name), 2.0 * 100 * widths.n_embd) << name;
    }
    // All see 50.5 keys on average, the last 8 of them 96.5: products with the keys alone.
    EXPECT_DOUBLE_EQ(cost("attention-output"), 100 * (q_o + a_key * 50.5));
    EXPECT_DOUBLE_EQ(cost("attention-up"), 100 * (q_o + a_key * 50.5) / 2);
    EXPECT_DOUBLE_EQ(cost("query", 8), 8 * (q_o + a_key * 96.5) / 2);
    EXPECT_DOUBLE_EQ(cost("query", 1000), cost("attention-up"));

    // A last layer of which one row is read still scores all.
    const ModelShape shape = shape_of(1, 576, 9, 3, 1536, 100);
    Plan plan = dense_plan(1);
    plan.layers[0] = {Action::select, 0.25, policy_from_name("inherit")};
    const double plain = prefill_flops(shape, plan, 100, HeadRows::last_read);
    plan.layers[0].policy = policy_from_name("attention-output");
    EXPECT_NEAR(prefill_flops(shape, plan, 100, HeadRows::last_read) - plain,
                100 * (q_o + a_key * 50.5), 1.0);
}

}  // namespace
}  // namespace orthorank
