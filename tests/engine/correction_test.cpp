// Plans with corrections and probes: what happens to the rows that are not computed and to all
// others, against a computation on the host; and that every way through the network does it alike.
#include <ggml-backend.h>
#include <ggml.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "engine/engine.h"
#include "select/selection.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/model_runs.h"

namespace orthorank::test {
namespace {

constexpr int k_rank = 6;
constexpr int k_layer = 1;

class CorrectionTest : public testing::TestWithParam<std::string> {
 protected:
    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;
    const int n_embd_ = model_.hparams().n_embd;

    EngineOptions options(int n_sequences = 1, int chunk_rows = 512) const {
        EngineOptions options = test_options();
        options.n_sequences = n_sequences;
        options.chunk_rows = chunk_rows;
        options.correction_type = CorrectionType::f32;
        return options;
    }
    Plan selecting(const std::vector<int> &layers, double ratio, const std::string &policy,
                   int rank, uint64_t seed = 1) const {
        return completed(select_plan(n_layers_, layers, ratio, policy), n_embd_, rank, seed);
    }
    Plan removing(const std::vector<int> &layers, int rank, uint64_t seed = 1) const {
        return completed(skip_plan(n_layers_, layers), n_embd_, rank, seed);
    }
    std::vector<int> all_layers() const {
        std::vector<int> layers;
        for (int il = 0; il < n_layers_; ++il) {
            layers.push_back(il);
        }
        return layers;
    }
    Logits logits_with(const Plan &plan, const std::vector<int32_t> &tokens) const {
        Engine engine(model_, options());
        Sequence sequence = engine.new_sequence(plan);
        return run(engine, sequence, tokens);
    }

    // The row after the layer's attention norm, in double.
    std::vector<double> normed(int il, std::span<const float> h) const {
        std::vector<float> weight(h.size());
        ggml_backend_tensor_get(model_.weights().layers[il].attn_norm, weight.data(), 0,
                                weight.size() * sizeof(float));
        double sum = 0;
        for (const float x : h) {
            sum += static_cast<double>(x) * x;
        }
        const double scale = 1 / std::sqrt(sum / n_embd_ + model_.hparams().rms_eps);
        std::vector<double> a;
        for (size_t i = 0; i < h.size(); ++i) {
            a.push_back(h[i] * scale * weight[i]);
        }
        return a;
    }
    // h + bias + up' (down' a)
    std::vector<float> corrected(int il, const Correction &correction,
                                 std::span<const float> h) const {
        const std::vector<double> a = normed(il, h);
        const auto rank = static_cast<size_t>(correction.rank);
        std::vector<double> low(rank, 0);
        for (size_t j = 0; j < rank; ++j) {
            for (size_t i = 0; i < h.size(); ++i) {
                low[j] += correction.down[j * h.size() + i] * a[i];
            }
        }
        std::vector<float> row;
        for (size_t i = 0; i < h.size(); ++i) {
            double sum = static_cast<double>(h[i]) + correction.bias[i];
            for (size_t j = 0; j < rank; ++j) {
                sum += correction.up[i * rank + j] * low[j];
            }
            row.push_back(static_cast<float>(sum));
        }
        return row;
    }
};

std::span<const float> row_of(const std::vector<float> &hidden, size_t row, int n_embd) {
    return std::span<const float>(hidden).subspan(row * static_cast<size_t>(n_embd),
                                                  static_cast<size_t>(n_embd));
}

TEST_P(CorrectionTest, RatioOneIsDense) {
    const auto tokens = random_tokens(50, 61);
    const Logits dense = logits_with(dense_plan(n_layers_), tokens);
    for (const char *policy : {"orthogonal", "probe"}) {
        EXPECT_TRUE(
            same_bits(logits_with(selecting(all_layers(), 1, policy, k_rank), tokens), dense));
    }
    EXPECT_FALSE(same_bits(logits_with(selecting({k_layer}, 0.9, "probe", k_rank), tokens), dense));
}

TEST_P(CorrectionTest, RankZeroWithoutBiasIsThePlainPlan) {
    const auto tokens = random_tokens(60, 62);
    const auto nothing = std::make_shared<const Correction>(
        Correction{n_embd_, 0, {}, {}, std::vector<float>(static_cast<size_t>(n_embd_), 0.0f)});
    Plan removing = skip_plan(n_layers_, {0, n_layers_ - 1});
    for (const Plan &plain : {select_plan(n_layers_, {0, n_layers_ - 1}, 0.333), removing}) {
        Plan plan = plain;
        for (const int il : {0, n_layers_ - 1}) {
            plan.layers[static_cast<size_t>(il)].correction = nothing;
        }
        EXPECT_TRUE(same_bits(logits_with(plan, tokens), logits_with(plain, tokens)));
    }
}

// Between the boundaries of a corrected layer: rows computed are those of the plain plan, the sink
// stays, the others are what the host computes. For selecting and removed layers, ranks, types.
TEST_P(CorrectionTest, RowsAreWhatTheHostComputes) {
    const auto tokens = random_tokens(90, 63);
    for (const int il : {0, k_layer, n_layers_ - 1}) {
        for (const Plan &plan :
             {selecting({il}, 0.333, "orthogonal", k_rank), selecting({il}, 0.5, "probe", 0),
              selecting({il}, 0, "orthogonal", 33), removing({il}, k_rank), removing({il}, 0)}) {
            for (const CorrectionType type : {CorrectionType::f32, CorrectionType::f16}) {
                EngineOptions with_type = options(2);
                with_type.correction_type = type;
                Engine engine(model_, with_type);
                const LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
                Plan plain = plan;
                plain.layers[static_cast<size_t>(il)].correction = nullptr;
                Sequence sequence = engine.new_sequence(plan);
                Sequence without = engine.new_sequence(plain);
                HiddenTap tap({il, il + 1}), plain_tap({il, il + 1});
                run(engine, sequence, tokens, Outputs::last, &tap);
                run(engine, without, tokens, Outputs::last, &plain_tap);
                const auto &before = tap.hidden(il), &after = tap.hidden(il + 1);
                ASSERT_TRUE(same_bits(before, plain_tap.hidden(il)));
                const double tolerance = type == CorrectionType::f32 ? 1e-5 : 2e-3;
                for (size_t i = 0; i < tokens.size(); ++i) {
                    SCOPED_TRACE(testing::Message() << "layer " << il << " row " << i);
                    const auto h = row_of(before, i, n_embd_);
                    const auto found = row_of(after, i, n_embd_);
                    const bool is_computed =
                        layer.action == Action::select && sequence.record(il).chosen[i] != 0;
                    if (i == 0) {
                        EXPECT_TRUE(same_bits(found, h));
                    } else if (is_computed) {
                        EXPECT_TRUE(same_bits(found, row_of(plain_tap.hidden(il + 1), i, n_embd_)));
                    } else {
                        const auto expected = corrected(il, *layer.correction, h);
                        EXPECT_LT(relative_distance(found, expected), tolerance);
                        EXPECT_GT(relative_distance(h, expected), 5 * tolerance);
                    }
                }
            }
        }
    }
}

TEST_P(CorrectionTest, ProbeScoresAreInnerProducts) {
    const auto tokens = random_tokens(70, 64);
    const Plan plan = selecting({k_layer}, 0.4, "probe", k_rank);
    Engine engine(model_, options());
    Sequence sequence = engine.new_sequence(plan);
    HiddenTap tap({k_layer});
    run(engine, sequence, tokens, Outputs::last, &tap);
    const LayerRecord &record = sequence.record(k_layer);
    int n_negative = 0;
    for (size_t i = 1; i < tokens.size(); ++i) {
        const std::vector<double> a = normed(k_layer, row_of(tap.hidden(k_layer), i, n_embd_));
        double expected = 0;
        for (size_t j = 0; j < a.size(); ++j) {
            expected += plan.layers[k_layer].probe->weight[j] * a[j];
        }
        EXPECT_NEAR(record.scores[i], expected, 1e-4);
        n_negative += expected < 0 ? 1 : 0;
    }
    EXPECT_GT(n_negative, 10);
    std::vector<uint8_t> chosen(tokens.size(), 0);
    for (const int32_t row : pick_rows(PickOrder::largest, record.scores, 0, 0.4)) {
        chosen[static_cast<size_t>(row)] = 1;
    }
    EXPECT_EQ(record.chosen, chosen);
    EXPECT_EQ(chosen.front(), 0);
}

TEST_P(CorrectionTest, ChunksAreOnePiece) {
    const auto tokens = random_tokens(300, 65);
    Plan mixed = select_plan(n_layers_, {0, k_layer}, 0.333, "probe");
    mixed.layers.back().action = Action::skip;
    for (const Plan &plan : {selecting({k_layer, n_layers_ - 1}, 0.4, "orthogonal", k_rank),
                             completed(mixed, n_embd_, k_rank), removing({0, k_layer}, k_rank)}) {
        Engine whole(model_, options());
        Sequence expected = whole.new_sequence(plan);
        const Logits expected_logits = run(whole, expected, tokens);
        for (const auto &[chunk_rows, body_rows] :
             {std::pair{37, 1024}, {64, 10}, {299, 10}, {1, 3}}) {
            SCOPED_TRACE(testing::Message() << chunk_rows << " " << body_rows);
            EngineOptions small = options(1, chunk_rows);
            small.body_rows = body_rows;
            Engine engine(model_, small);
            Sequence sequence = engine.new_sequence(plan);
            EXPECT_TRUE(nmse_below(k_nmse_f32, run(engine, sequence, tokens), expected_logits));
            for (int il = 0; il < n_layers_; ++il) {
                EXPECT_TRUE(same_record(sequence.record(il), expected.record(il), 1e-4));
            }
        }
    }
}

// A removed layer has no K and V and needs no decision: its steps are the prompt, to rounding. And
// a decoded row is corrected as a prompt's row with the same state before the layer is.
TEST_P(CorrectionTest, DecodedRowsAreCorrected) {
    const auto tokens = random_tokens(60, 66);
    const std::span<const int32_t> all(tokens);
    Engine engine(model_, options());
    {
        Sequence sequence = engine.new_sequence(removing({0, k_layer}, k_rank));
        const Logits steps = run_steps(engine, sequence, all);
        EXPECT_TRUE(
            nmse_below(k_nmse_f32, steps, logits_with(removing({0, k_layer}, k_rank), tokens)));
    }
    const Plan plan = selecting({k_layer}, 0.4, "probe", k_rank);
    Sequence sequence = engine.new_sequence(plan);
    run(engine, sequence, all.first(30), Outputs::last);
    HiddenTap tap({k_layer, k_layer + 1});
    ForwardOptions forward;
    forward.tap = &tap;
    int n_corrected = 0;
    for (size_t i = 30; i < tokens.size(); ++i) {
        const Chunk chunk = chunk_of(sequence, all.subspan(i, 1), Phase::decode, Outputs::last);
        run_batch(engine, std::span(&chunk, 1), forward);
        const LayerRecord &record = sequence.record(k_layer);
        const auto picked =
            pick_rows(PickOrder::largest, record.scores, static_cast<int64_t>(i), 0.4);
        ASSERT_EQ(record.chosen[i], picked.size());
        if (record.chosen[i] == 0) {
            const auto expected =
                corrected(k_layer, *plan.layers[k_layer].correction, tap.hidden(k_layer));
            EXPECT_LT(relative_distance(tap.hidden(k_layer + 1), expected), 1e-5);
            ++n_corrected;
        }
    }
    EXPECT_GT(n_corrected, 5);
    EXPECT_LT(n_corrected, 30);
}

// Different corrections, probes, actions and ranks in one batch: prompts together, steps together.
TEST_P(CorrectionTest, BatchIsOneByOne) {
    Plan mixed = select_plan(n_layers_, {0, k_layer}, 0.5, "probe");
    mixed.layers.back().action = Action::skip;
    const std::vector<Plan> plans = {selecting({k_layer}, 0.333, "probe", k_rank, 1),
                                     selecting({k_layer}, 0.5, "orthogonal", 3, 100),
                                     removing({k_layer}, k_rank, 200),
                                     dense_plan(n_layers_),
                                     removing({k_layer}, 0, 300),
                                     select_plan(n_layers_, {k_layer}, 0.4),
                                     completed(mixed, n_embd_, k_rank, 400),
                                     selecting({k_layer}, 0.333, "probe", k_rank, 1)};
    const auto n = static_cast<int>(plans.size());
    for (const int chunk_rows : {512, 19}) {
        Engine engine(model_, options(n, chunk_rows));
        std::vector<std::unique_ptr<Engine>> alone;
        std::vector<Sequence> sequences, expected;
        std::vector<std::vector<int32_t>> prompts;
        for (int i = 0; i < n; ++i) {
            prompts.push_back(random_tokens(5 + 13 * i, 70 + static_cast<uint64_t>(i)));
            sequences.push_back(engine.new_sequence(plans[static_cast<size_t>(i)]));
            alone.push_back(std::make_unique<Engine>(model_, options()));
            expected.push_back(alone.back()->new_sequence(plans[static_cast<size_t>(i)]));
        }
        std::vector<Chunk> batch;
        for (size_t i = 0; i < plans.size(); ++i) {
            batch.push_back(chunk_of(sequences[i], prompts[i]));
        }
        const std::vector<Logits> logits = run_batch(engine, batch);
        for (size_t i = 0; i < plans.size(); ++i) {
            EXPECT_TRUE(nmse_below(k_nmse_f32, logits[i], run(*alone[i], expected[i], prompts[i])));
        }
        for (uint64_t step = 0; step < 16; ++step) {
            const auto tokens = random_tokens(n, 500 + step);
            std::vector<Chunk> steps;
            std::vector<size_t> present;
            for (size_t i = 0; i < plans.size(); ++i) {
                if (step < 8 || (i + step) % 3 != 0) {
                    present.push_back(i);
                    steps.push_back(chunk_of(sequences[i], std::span(&tokens[i], 1), Phase::decode,
                                             Outputs::last));
                }
            }
            const std::vector<Logits> rows = run_batch(engine, steps);
            for (size_t k = 0; k < present.size(); ++k) {
                SCOPED_TRACE(testing::Message() << "step " << step << " member " << present[k]);
                const size_t i = present[k];
                const Logits one =
                    forward_last(*alone[i], expected[i], std::span(&tokens[i], 1), Phase::decode);
                EXPECT_TRUE(nmse_below(k_nmse_f32, rows[k], one));
            }
        }
        for (size_t i = 0; i < plans.size(); ++i) {
            for (int il = 0; il < n_layers_; ++il) {
                EXPECT_TRUE(same_record(sequences[i].record(il), expected[i].record(il), 1e-4));
            }
        }
    }
}

// Steps of several sequences with one plan, so that corrected rows are padded.
TEST_P(CorrectionTest, StepsWithOnePlanAreOneByOne) {
    const Plan plan = selecting({0, k_layer}, 0.333, "probe", k_rank);
    constexpr size_t n = 7;
    Engine engine(model_, options(n));
    std::vector<std::unique_ptr<Engine>> alone;
    std::vector<Sequence> sequences, expected;
    for (size_t i = 0; i < n; ++i) {
        const auto prompt = random_tokens(10, 80 + i);
        sequences.push_back(engine.new_sequence(plan));
        alone.push_back(std::make_unique<Engine>(model_, options()));
        expected.push_back(alone.back()->new_sequence(plan));
        run(engine, sequences.back(), prompt, Outputs::none);
        run(*alone.back(), expected.back(), prompt, Outputs::none);
    }
    for (uint64_t step = 0; step < 12; ++step) {
        const auto tokens = random_tokens(static_cast<int>(n), 600 + step);
        std::vector<Chunk> steps;
        for (size_t i = 0; i < n; ++i) {
            steps.push_back(
                chunk_of(sequences[i], std::span(&tokens[i], 1), Phase::decode, Outputs::last));
        }
        const std::vector<Logits> rows = run_batch(engine, steps);
        for (size_t i = 0; i < n; ++i) {
            EXPECT_TRUE(nmse_below(
                k_nmse_f32, rows[i],
                forward_last(*alone[i], expected[i], std::span(&tokens[i], 1), Phase::decode)));
        }
    }
}

TEST_P(CorrectionTest, ResumingIsTheStraightRun) {
    const auto tokens = random_tokens(60, 67);
    Plan mixed = select_plan(n_layers_, {n_layers_ - 1}, 0.5, "probe");
    mixed.layers[0].action = Action::skip;
    mixed.layers[1].action = Action::skip;
    const Plan plan = completed(mixed, n_embd_, k_rank);
    for (int layer = 0; layer <= n_layers_; ++layer) {
        SCOPED_TRACE(layer);
        Engine engine(model_, options());
        Sequence straight = engine.new_sequence(plan);
        HiddenTap tap({layer});
        const Logits expected = run(engine, straight, tokens, Outputs::all, &tap);
        straight.clear();
        EXPECT_TRUE(same_bits(run_from(engine, straight, tap.hidden(layer), layer), expected));

        // And stopping there is what the straight run had there.
        Engine other(model_, options());
        Sequence first_part = other.new_sequence(plan);
        HiddenTap end({layer});
        ForwardOptions until;
        until.end_layer = layer;
        until.tap = &end;
        const Chunk start = chunk_of(first_part, tokens, Phase::prefill, Outputs::none);
        run_batch(other, std::span(&start, 1), until);
        EXPECT_TRUE(same_bits(end.hidden(layer), tap.hidden(layer)));
    }
}

// Apply::decode computes all rows of a prompt; a removed layer stays removed and corrected.
TEST_P(CorrectionTest, WhatIsNotSkippedIsNotCorrected) {
    const auto tokens = random_tokens(50, 68);
    Engine engine(model_, options());
    Sequence sequence =
        engine.new_sequence(selecting({k_layer}, 0.333, "probe", k_rank), Apply::decode);
    EXPECT_TRUE(
        same_bits(run(engine, sequence, tokens), logits_with(dense_plan(n_layers_), tokens)));
}

INSTANTIATE_TEST_SUITE_P(Tiny, CorrectionTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

}  // namespace
}  // namespace orthorank::test
