// The fits against the PyTorch reference (tools/reference/make_corrections.py): closed forms on
// rows that are equal to the bit on both sides, and the walk over the layers of a tiny model. A and
// B are compared by their product: singular vectors have no sign.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "calibration/fit_corrections.h"
#include "calibration/ridge_fit.h"
#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank {
namespace {

using nlohmann::json;
using test::relative_distance;

constexpr double k_tolerance = 1e-4;

const json &fixture() {
    static const json data = [] {
        std::ifstream file(test::fixture_path("corrections-tiny-llama-gqa.json"));
        return json::parse(file);
    }();
    return data;
}

std::vector<float> floats(const json &values) {
    return values.get<std::vector<float>>();
}

// A B: [n_embd, n_embd], row-major.
std::vector<float> product(const std::vector<float> &down, const std::vector<float> &up,
                           size_t n_embd) {
    const size_t rank = down.size() / n_embd;
    std::vector<float> ab;
    for (size_t i = 0; i < n_embd; ++i) {
        for (size_t o = 0; o < n_embd; ++o) {
            double sum = 0;
            for (size_t r = 0; r < rank; ++r) {
                sum += static_cast<double>(down[r * n_embd + i]) * up[o * rank + r];
            }
            ab.push_back(static_cast<float>(sum));
        }
    }
    return ab;
}

std::vector<float> product(const Correction &c) {
    return product(c.down, c.up, static_cast<size_t>(c.n_embd));
}

// Multiples of 1/128 in [-1, 1), as the reference draws them.
class Draws {
 public:
    float next() {
        state_ = state_ * 1664525 + 1013904223;
        return (static_cast<float>(state_ >> 24) - 128) / 128;
    }

 private:
    uint32_t state_ = 1;
};

TEST(CorrectionsReference, ClosedFormsOnTheSameRows) {
    const json &rows = fixture().at("rows");
    const auto n_embd = rows.at("n_embd").get<size_t>();
    const auto n_rows = rows.at("n_rows").get<size_t>();
    Draws draws;
    std::vector<float> x;
    for (size_t i = 0; i < n_rows * n_embd; ++i) {
        x.push_back(draws.next() + static_cast<float>(i % n_embd));
    }
    std::vector<float> y;
    for (size_t i = 0; i < n_rows * n_embd; ++i) {
        const size_t column = i % n_embd;
        const float next = x[i - column + (column + 1) % n_embd];
        y.push_back(std::ldexp(x[i] - next, -static_cast<int>(column % 4)) + draws.next());
    }
    std::vector<float> g;
    for (size_t row = 0; row < n_rows; ++row) {
        const float *first = &x[row * n_embd];
        g.push_back(first[0] + first[1] + first[2] + first[3] + draws.next());
    }
    const int n = static_cast<int>(n_embd);
    const double ridge = rows.at("ridge").get<double>();
    Moments moments(n, n);
    moments.add(x, y);
    const Correction full = fit_correction(moments, n, ridge);
    EXPECT_LT(relative_distance(product(full), floats(rows.at("w"))), k_tolerance);
    const Correction low = fit_correction(moments, rows.at("rank").get<int>(), ridge);
    EXPECT_LT(relative_distance(product(low), floats(rows.at("ab"))), k_tolerance);
    EXPECT_LT(relative_distance(low.bias, floats(rows.at("bias"))), k_tolerance);
    Moments gains(n, 1);
    gains.add(x, g);
    const ProbeFit probe = fit_probe(gains, ridge);
    EXPECT_LT(relative_distance(probe.probe.weight, floats(rows.at("probe"))), k_tolerance);

    std::vector<float> weights;
    for (size_t row = 0; row < n_rows; ++row) {
        weights.push_back(std::max(draws.next() + 1.0f, 0.25f) - 0.25f);
    }
    Moments counted(n, n);
    counted.add(x, y, weights);
    const Correction weighed = fit_correction(counted, rows.at("rank").get<int>(), ridge);
    const json &expected = rows.at("weighed");
    EXPECT_LT(relative_distance(product(weighed), floats(expected.at("ab"))), k_tolerance);
    EXPECT_LT(relative_distance(weighed.bias, floats(expected.at("bias"))), k_tolerance);
    EXPECT_NEAR(explained_by(weighed, counted), expected.at("explained").get<double>(), 1e-6);
    EXPECT_GT(relative_distance(product(weighed), product(low)), 0.01) << "weights matter";
}

Plan plan_of(const json &walk, int n_layers) {
    Plan plan = dense_plan(n_layers);
    for (const json &layer : walk.at("layers")) {
        LayerPlan &entry = plan.layers[layer.at("index").get<size_t>()];
        entry.action = Action::skip;
        if (layer.at("action") == "select") {
            entry.action = Action::select;
            entry.ratio = layer.at("ratio").get<double>();
            entry.policy = policy_from_name(layer.at("policy").get<std::string>());
        }
    }
    return plan;
}

TEST(CorrectionsReference, WalksOverTheLayers) {
    const Model &model = test::fixture_model("tiny-llama-gqa");
    const auto n_embd = static_cast<size_t>(model.hparams().n_embd);
    for (const json &walk : fixture().at("walks")) {
        SCOPED_TRACE(walk.at("name").get<std::string>());
        EngineOptions engine_options = test::test_options();
        engine_options.correction_type = CorrectionType::f32;
        Engine engine(model, engine_options);
        Windows windows;
        windows.n_ctx = walk.at("n_ctx").get<int>();
        windows.tokens = walk.at("tokens").get<std::vector<int32_t>>();
        FitOptions options;
        options.correction = {walk.at("rank").get<int>(), walk.at("ridge").get<double>()};
        std::vector<LayerFit> fits;
        options.on_layer = [&](int, const LayerFit &fit) { fits.push_back(fit); };
        fit_corrections(engine, windows, plan_of(walk, model.hparams().n_layers), options);
        ASSERT_EQ(fits.size(), walk.at("layers").size());
        for (size_t i = 0; i < fits.size(); ++i) {
            const json &expected = walk.at("layers")[i];
            SCOPED_TRACE(expected.at("index").get<int>());
            const std::vector<float> ab =
                product(floats(expected.at("down")), floats(expected.at("up")), n_embd);
            EXPECT_LT(relative_distance(product(*fits[i].plan.correction), ab), k_tolerance);
            EXPECT_LT(relative_distance(fits[i].plan.correction->bias, floats(expected.at("bias"))),
                      k_tolerance);
            EXPECT_NEAR(fits[i].explained, expected.at("explained").get<double>(), k_tolerance);
            ASSERT_EQ(fits[i].plan.probe != nullptr, expected.contains("probe"));
            if (fits[i].plan.probe != nullptr) {
                EXPECT_LT(
                    relative_distance(fits[i].plan.probe->weight, floats(expected.at("probe"))),
                    k_tolerance);
                EXPECT_NEAR(fits[i].r_squared, expected.at("r_squared").get<double>(), k_tolerance);
            }
        }
    }
}

}  // namespace
}  // namespace orthorank
