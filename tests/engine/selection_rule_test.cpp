// What a selecting layer does to the rows, seen from outside: how many are computed and which, what
// happens to the others, what they depend on (the method's invariants), and that the decisions made
// on the way are those of the rule on the recorded scores.
#include "select/selection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr int k_layer = 1;  // that selects, where one does

std::vector<int32_t> chosen_positions(const LayerRecord &record) {
    std::vector<int32_t> positions;
    for (size_t i = 0; i < record.chosen.size(); ++i) {
        if (record.chosen[i] != 0) {
            positions.push_back(static_cast<int32_t>(i));
        }
    }
    return positions;
}

std::span<const float> row_of(const std::vector<float> &hidden, size_t row, size_t n_embd) {
    return std::span<const float>(hidden).subspan(row * n_embd, n_embd);
}

// The policies by name that score rows themselves.
std::vector<std::string> scoring_policies() {
    std::vector<std::string> names;
    for (const std::string_view name : policy_names()) {
        if (name != "inherit") {
            names.emplace_back(name);
        }
    }
    return names;
}

// Of these, those that score decoded tokens too.
std::vector<std::string> policies_with_decode() {
    std::vector<std::string> names = scoring_policies();
    std::erase_if(names, [](const std::string &name) {
        return needs_whole_prompt(policy_from_name(name).score);
    });
    return names;
}

class SelectionRuleTest : public testing::TestWithParam<std::string> {
 protected:
    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;
    const size_t n_embd_ = static_cast<size_t>(model_.hparams().n_embd);
};

TEST_P(SelectionRuleTest, AsManyRowsAsTheRatioSaysNeverTheSink) {
    for (const std::string &policy : scoring_policies()) {
        for (const auto &[n, ratio, k] : {std::tuple{101, 0.333, 33},
                                          {300, 0.333, 99},
                                          {7, 0.333, 2},
                                          {2, 0.333, 0},
                                          {10, 0.99, 9},
                                          {1, 0.5, 0},
                                          {5, 1.0, 5}}) {
            SCOPED_TRACE(testing::Message() << policy << " " << n << " " << ratio);
            Engine engine(model_, test_options());
            const Plan plan = completed(select_plan(n_layers_, {0, k_layer}, ratio, policy, 3),
                                        static_cast<int>(n_embd_));
            Sequence sequence = engine.new_sequence(plan, Apply::prefill);
            run(engine, sequence, random_tokens(n, 51), Outputs::last);
            for (const int il : {0, k_layer}) {
                const LayerRecord &record = sequence.record(il);
                const auto rows = chosen_positions(record);
                EXPECT_EQ(static_cast<int>(rows.size()), k);
                EXPECT_EQ(record.scores.size(), static_cast<size_t>(n)) << "one score per token";
                EXPECT_EQ(record.chosen.front(), k == n ? 1 : 0);
                EXPECT_EQ(rows, pick_rows(plan.layers[0].policy.order, record.scores, 0, ratio));
            }
            EXPECT_EQ(sequence.n_past(), n);
            EXPECT_EQ(sequence.n_rows_offered(), 2 * n);
            EXPECT_EQ(sequence.n_rows_computed(), 2 * k);
        }
    }
}

TEST_P(SelectionRuleTest, UnselectedRowsKeepTheirBits) {
    const auto tokens = random_tokens(120, 52);
    for (const int il : {0, k_layer, n_layers_ - 1}) {
        for (const int chunk_rows : {512, 50}) {
            EngineOptions options = test_options();
            options.chunk_rows = chunk_rows;
            Engine engine(model_, options);
            Sequence sequence = engine.new_sequence(select_plan(n_layers_, {il}, 0.333));
            HiddenTap tap({il, il + 1});
            run(engine, sequence, tokens, Outputs::last, &tap);
            for (size_t i = 0; i < tokens.size(); ++i) {
                const auto before = row_of(tap.hidden(il), i, n_embd_);
                const auto after = row_of(tap.hidden(il + 1), i, n_embd_);
                EXPECT_EQ(static_cast<bool>(same_bits(after, before)),
                          sequence.record(il).chosen[i] == 0)
                    << "layer " << il << " row " << i;
            }
        }
    }
}

// The recorded decisions of a prompt, steps, a second turn in one call, and more steps are those
// of the rule on the recorded scores, in that order.
TEST_P(SelectionRuleTest, DecisionsAreTheReplayOfTheRule) {
    const auto tokens = random_tokens(120, 53);
    const std::span<const int32_t> all(tokens);
    for (const std::string &policy : policies_with_decode()) {
        SCOPED_TRACE(policy);
        Engine engine(model_, test_options());
        const Plan plan =
            completed(select_plan(n_layers_, {k_layer, n_layers_ - 1}, 0.4, policy, 9),
                      static_cast<int>(n_embd_));
        Sequence sequence = engine.new_sequence(plan);
        run(engine, sequence, all.first(50), Outputs::last);
        run_steps(engine, sequence, all.subspan(50, 30));
        run(engine, sequence, all.subspan(80, 25), Outputs::last);
        run_steps(engine, sequence, all.subspan(105, 15));

        int64_t n_computed = 0;
        for (const int il : {k_layer, n_layers_ - 1}) {
            const LayerRecord &record = sequence.record(il);
            ASSERT_EQ(record.scores.size(), 120u);
            EXPECT_TRUE(std::isinf(record.scores.front()));
            std::vector<int32_t> expected;
            std::vector<int> ends = {50, 105};
            for (int end = 51; end <= 120; ++end) {
                if (end <= 80 || end > 105) {
                    ends.push_back(end);
                }
            }
            std::sort(ends.begin(), ends.end());
            int64_t n_past = 0;
            for (const int end : ends) {
                const auto picked = pick_rows(plan.layers[k_layer].policy.order,
                                              std::span(record.scores).first(end), n_past, 0.4);
                expected.insert(expected.end(), picked.begin(), picked.end());
                n_past = end;
            }
            EXPECT_EQ(chosen_positions(record), expected);
            n_computed += static_cast<int64_t>(expected.size());
        }
        EXPECT_EQ(sequence.n_rows_offered(), 240);
        EXPECT_EQ(sequence.n_rows_computed(), n_computed);
        EXPECT_GT(n_computed, 0);
    }
}

TEST_P(SelectionRuleTest, ApplyModes) {
    const auto tokens = random_tokens(70, 54);
    const std::span<const int32_t> all(tokens);
    EngineOptions options = test_options();
    options.n_sequences = 4;
    Engine engine(model_, options);
    const Plan plan = select_plan(n_layers_, {k_layer}, 0.333);
    Sequence dense = engine.new_sequence(dense_plan(n_layers_));
    Sequence prefill = engine.new_sequence(plan, Apply::prefill);
    Sequence decode = engine.new_sequence(plan, Apply::decode);
    Sequence both = engine.new_sequence(plan);
    const Logits dense_logits = run(engine, dense, all.first(50));
    const Logits both_logits = run(engine, both, all.first(50));
    EXPECT_TRUE(same_bits(run(engine, decode, all.first(50)), dense_logits));
    EXPECT_TRUE(same_bits(run(engine, prefill, all.first(50)), both_logits));
    EXPECT_FALSE(same_bits(both_logits, dense_logits));
    for (Sequence *sequence : {&prefill, &decode, &both}) {
        run_steps(engine, *sequence, all.last(20));
        EXPECT_EQ(sequence->record(k_layer).scores.size(), sequence == &prefill ? 50u : 70u)
            << "where they decide: dense after the prefill if the plan is for that alone";
    }
    const auto n_chosen = [](const Sequence &sequence, size_t first, size_t n) {
        const auto begin = sequence.record(k_layer).chosen.begin() + static_cast<ptrdiff_t>(first);
        return std::accumulate(begin, begin + static_cast<ptrdiff_t>(n), 0);
    };
    EXPECT_EQ(n_chosen(prefill, 0, 50), 16);
    EXPECT_EQ(n_chosen(both, 0, 50), 16);
    EXPECT_EQ(n_chosen(decode, 0, 50), 50);
    EXPECT_LT(n_chosen(decode, 50, 20), 20);
    EXPECT_LT(n_chosen(both, 50, 20), 20);
}

// Hidden states that leave layer 0, which selects, for a prompt of 60 and then steps; each row of a
// token's own there depends on the others by attention only.
std::vector<float> after_first_layer(Engine &engine, Sequence &sequence,
                                     std::span<const int32_t> tokens) {
    sequence.clear();
    HiddenTap tap({1});
    run(engine, sequence, tokens.first(60), Outputs::none, &tap);
    std::vector<float> hidden = tap.hidden(1);
    ForwardOptions options;
    options.tap = &tap;
    for (size_t i = 60; i < tokens.size(); ++i) {
        const Chunk chunk = chunk_of(sequence, tokens.subspan(i, 1), Phase::decode, Outputs::none);
        run_batch(engine, std::span(&chunk, 1), options);
        hidden.insert(hidden.end(), tap.hidden(1).begin(), tap.hidden(1).end());
    }
    return hidden;
}

// Which chosen rows change when the token of an unselected position is another one (such that all
// decisions stay): with K and V of all rows every later one, without them none.
TEST_P(SelectionRuleTest, WhoseKeysAndValuesExist) {
    const auto tokens = random_tokens(90, 55);
    for (const char *policy : {"orthogonal", "orthogonal-no-kv"}) {
        Engine engine(model_, test_options());
        Sequence sequence = engine.new_sequence(select_plan(n_layers_, {0}, 0.5, policy));
        const auto before = after_first_layer(engine, sequence, tokens);
        const auto chosen = sequence.record(0).chosen;
        int n_positions = 0;
        for (const size_t position : {5u, 20u, 41u, 66u, 67u, 68u, 69u, 70u, 71u, 72u}) {
            auto changed = tokens;
            for (int32_t token = 0; chosen[position] == 0 && token < k_tiny_n_vocab; ++token) {
                changed[position] = token;
                const auto after = after_first_layer(engine, sequence, changed);
                if (token == tokens[position] || sequence.record(0).chosen != chosen) {
                    continue;
                }
                for (size_t row = 0; row < tokens.size(); ++row) {
                    const bool is_equal(
                        same_bits(row_of(after, row, n_embd_), row_of(before, row, n_embd_)));
                    const bool may_see =
                        std::string(policy) == "orthogonal" && row > position && chosen[row] != 0;
                    EXPECT_EQ(is_equal, row != position && !may_see)
                        << policy << ": row " << row << " after a change of " << position;
                }
                ++n_positions;
                break;
            }
        }
        EXPECT_GE(n_positions, 3) << "the test needs positions to change";
    }
}

INSTANTIATE_TEST_SUITE_P(Tiny, SelectionRuleTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

// What leaves a selecting layer of a model.
struct LayerResult {
    LayerRecord record;
    std::vector<float> hidden;
};

LayerResult layer_result(const TinyFile &file, const std::vector<int32_t> &tokens) {
    const TempDir dir;
    file.write(dir.file("edited.gguf"));
    const auto model = load_on_cpu(dir.file("edited.gguf"));
    Engine engine(*model, test_options());
    Sequence sequence =
        engine.new_sequence(select_plan(model->hparams().n_layers, {k_layer}, 0.333));
    HiddenTap tap({k_layer + 1});
    run(engine, sequence, tokens, Outputs::last, &tap);
    return {sequence.record(k_layer), tap.hidden(k_layer + 1)};
}

class EditedWeightsTest : public testing::TestWithParam<TinyModel> {};

TEST_P(EditedWeightsTest, UnselectedRowsDependOnNoWeightOfTheBody) {
    const auto tokens = random_tokens(60, 56);
    const LayerResult original = layer_result(make_tiny_file(GetParam()), tokens);
    const auto n_embd = static_cast<size_t>(GetParam().n_embd);
    for (const std::string part : {"attn_q", "attn_output", "ffn"}) {
        TinyFile file = make_tiny_file(GetParam());
        int n_edited = 0;
        for (TinyTensor &tensor : file.tensors) {
            if (tensor.name.starts_with("blk.1." + part)) {
                for (float &value : tensor.values) {
                    value *= -1.5f;
                }
                ++n_edited;
            }
        }
        ASSERT_GE(n_edited, 1) << part;
        const LayerResult edited = layer_result(file, tokens);
        EXPECT_TRUE(same_record(edited.record, original.record, 0));
        for (size_t i = 0; i < tokens.size(); ++i) {
            EXPECT_EQ(static_cast<bool>(same_bits(row_of(edited.hidden, i, n_embd),
                                                  row_of(original.hidden, i, n_embd))),
                      original.record.chosen[i] == 0)
                << part << " row " << i;
        }
    }
}

TEST_P(EditedWeightsTest, SelectionIsTheSameWhenAllRowsAreScaled) {
    const auto tokens = random_tokens(100, 57);
    const LayerResult original = layer_result(make_tiny_file(GetParam()), tokens);
    for (const float scale : {2.0f, 0.25f}) {  // powers of two round nothing
        TinyFile file = make_tiny_file(GetParam());
        for (float &value : file.tensor("blk.1.attn_norm.weight").values) {
            value *= scale;
        }
        const LayerResult scaled = layer_result(file, tokens);
        EXPECT_EQ(scaled.record.chosen, original.record.chosen);
        for (size_t i = 1; i < tokens.size(); ++i) {
            EXPECT_EQ(scaled.record.scores[i], scale * scale * original.record.scores[i]);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, EditedWeightsTest, testing::ValuesIn(tiny_models()),
                         [](const auto &test) { return test.param.name; });

}  // namespace
}  // namespace orthorank::test
