// The engine against the independent PyTorch implementation (tests/fixtures/README.md): scores,
// chosen rows, hidden states and logits of a prompt, the decisions of 64 decoded tokens, a second
// turn; every policy on every tiny architecture, and the default model.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/paths.h"
#include "support/real_models.h"

namespace orthorank::test {
namespace {

using Json = nlohmann::json;

// The reference's K and V are F32, ours too: what is left is the order of summation.
constexpr double k_score_tolerance = 1e-4;
// ggml's GELU is a table of halves: a rounding more or less reads the entry beside, a thousandth
// away.
constexpr double k_table_tolerance = 1e-3;

double score_tolerance(const Hparams &hparams) {
    return hparams.layers.front().gate == Gate::gelu ? k_table_tolerance : k_score_tolerance;
}

Json read_fixture(const std::string &name) {
    return Json::parse(read_bytes(fixture_path("reference-" + name + ".json")));
}

Plan plan_of(const Json &test_case, int n_layers) {
    nlohmann::ordered_json json;
    json["format"] = "orthorank-plan";
    json["version"] = 3;
    json["model"]["n_layers"] = n_layers;
    json["layers"] = nlohmann::ordered_json::parse(test_case.at("plan").dump());
    return plan_from_json(json, test_case.at("name"));
}

std::vector<float> scores_of(const Json &list) {
    std::vector<float> scores;
    for (const Json &score : list) {
        scores.push_back(score.is_null() ? std::numeric_limits<float>::infinity()
                                         : score.get<float>());
    }
    return scores;
}

// What the reference recorded for positions first .. first + n - 1, as a record.
LayerRecord record_of(const Json &layer, size_t first) {
    LayerRecord record;
    record.scores = scores_of(layer.at("scores"));
    if (layer.contains("computed")) {
        record.chosen = layer.at("computed").get<std::vector<uint8_t>>();
        return record;
    }
    record.chosen.assign(record.scores.size(), 0);
    for (const size_t position : layer.at("rows")) {
        record.chosen.at(position - first) = 1;
    }
    return record;
}

LayerRecord part_of(const LayerRecord &record, size_t first, size_t n) {
    LayerRecord part;
    part.scores.assign(record.scores.begin() + static_cast<ptrdiff_t>(first),
                       record.scores.begin() + static_cast<ptrdiff_t>(first + n));
    part.chosen.assign(record.chosen.begin() + static_cast<ptrdiff_t>(first),
                       record.chosen.begin() + static_cast<ptrdiff_t>(first + n));
    return part;
}

void expect_records(const Sequence &sequence, const Json &layers, size_t first, double tolerance) {
    for (const Json &layer : layers) {
        const LayerRecord expected = record_of(layer, first);
        const LayerRecord &all = sequence.record(layer.at("index"));
        ASSERT_GE(all.scores.size(), first + expected.scores.size());
        EXPECT_TRUE(same_record(part_of(all, first, expected.scores.size()), expected, tolerance))
            << "layer " << layer.at("index") << " from position " << first;
    }
}

void expect_hidden(const std::vector<float> &hidden, const Json &rows, size_t n_embd) {
    for (const Json &row : rows) {
        const std::vector<float> expected = row.at("values");
        const auto found =
            std::span<const float>(hidden).subspan(row.at("row").get<size_t>() * n_embd, n_embd);
        EXPECT_LE(relative_distance(found.first(expected.size()), expected), k_hidden_tolerance)
            << "row " << row.at("row");
        if (row.contains("norm")) {
            double norm = 0;
            for (const float value : found) {
                norm += double{value} * double{value};
            }
            const double expected_norm = row.at("norm");
            EXPECT_NEAR(std::sqrt(norm), expected_norm, k_hidden_tolerance * expected_norm);
        }
    }
}

void expect_logits(const Logits &logits, const Json &expected) {
    if (expected.is_array()) {
        EXPECT_TRUE(nmse_below(k_nmse_f32, logits, expected.get<std::vector<float>>()));
        return;
    }
    std::vector<float> found;
    for (const size_t id : expected.at("ids")) {
        found.push_back(logits.at(id));
    }
    EXPECT_TRUE(nmse_below(k_nmse_f32, found, expected.at("values").get<std::vector<float>>()));
}

void expect_pass(Engine &engine, Sequence &sequence, const std::vector<int32_t> &tokens,
                 const Json &expected) {
    const size_t first = static_cast<size_t>(sequence.n_past());
    const Hparams &hparams = engine.model().hparams();
    HiddenTap tap({hparams.n_layers});
    const Logits logits = run(engine, sequence, tokens, Outputs::last, &tap);
    expect_records(sequence, expected.at("layers"), first, score_tolerance(hparams));
    expect_hidden(tap.hidden(hparams.n_layers), expected.at("hidden"),
                  static_cast<size_t>(hparams.n_embd));
    expect_logits(logits, expected.at("logits"));
}

void expect_decode(Engine &engine, Sequence &sequence, const Json &decode) {
    const auto first = static_cast<size_t>(sequence.n_past());
    const std::vector<int32_t> tokens = decode.at("tokens");
    Logits logits;
    for (size_t i = 0; i < tokens.size(); ++i) {
        logits = forward_last(engine, sequence, std::span(&tokens[i], 1), Phase::decode);
        if (i + 1 < tokens.size()) {
            Logits next(logits.size(), 0.0f);
            next[static_cast<size_t>(tokens[i + 1])] = 1;
            const auto best = static_cast<size_t>(argmax(logits));
            EXPECT_LT(logits[best] - logits[static_cast<size_t>(tokens[i + 1])], 1e-2f)
                << "greedy token " << i + 1;
        }
    }
    if (sequence.apply() == Apply::prefill) {
        for (const Json &layer : decode.at("layers")) {
            EXPECT_EQ(sequence.record(layer.at("index")).scores.size(), first)
                << "decoded rows, where the plan does not apply, have no scores";
        }
    } else {
        expect_records(sequence, decode.at("layers"), first,
                       score_tolerance(engine.model().hparams()));
    }
    expect_logits(logits, decode.at("logits"));
}

void expect_case(const Model &model, const Json &test_case) {
    SCOPED_TRACE(test_case.at("name").get<std::string>());
    Engine engine(model, test_options());
    const Plan plan = plan_of(test_case, model.hparams().n_layers);
    // Where the reference has no decode, our engine insists to hear it.
    const bool has_decode = test_case.contains("decode");
    const Apply apply =
        plan.needs_whole_prompt() ? Apply::prefill : apply_from_name(test_case.at("apply"));
    Sequence sequence = engine.new_sequence(plan, apply);
    expect_pass(engine, sequence, test_case.at("tokens"), test_case.at("prefill"));
    if (test_case.contains("turn")) {
        expect_pass(engine, sequence, test_case.at("turn").at("tokens"), test_case.at("turn"));
    }
    if (has_decode) {
        expect_decode(engine, sequence, test_case.at("decode"));
    }
}

class TinyReferenceTest : public testing::TestWithParam<std::string> {};

TEST_P(TinyReferenceTest, AllCases) {
    const Json fixture = read_fixture(GetParam());
    EXPECT_GE(fixture.at("cases").size(), 18u);
    for (const Json &test_case : fixture.at("cases")) {
        expect_case(fixture_model(GetParam()), test_case);
    }
}

INSTANTIATE_TEST_SUITE_P(All, TinyReferenceTest, testing::ValuesIn(fixture_model_names()),
                         [](const auto &test) { return test_name(test.param); });

// F32 copies of the default model's weights, a real text, and the plan of the orientation figures.
TEST(RealReferenceTest, AllCases) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no default model at " << default_model_path();
    }
    const Json fixture = read_fixture("smollm2-135m");
    const auto model = load_on_cpu(default_model_as("F32"));
    ASSERT_EQ(fixture.at("cases").size(), 2u);
    for (const Json &test_case : fixture.at("cases")) {
        expect_case(*model, test_case);
    }
}

}  // namespace
}  // namespace orthorank::test
