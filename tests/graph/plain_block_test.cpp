// Gradients of a layer that the Taylor score is made of, against differences of the layer itself:
// windows, soft caps, GELU, post-norms, experts, shared experts, scales.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "graph/block.h"
#include "graph/gradient_graph.h"
#include "model/file_bytes.h"
#include "model/weight_list.h"
#include "model/weight_store.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr int k_n_rows = 24;
constexpr int k_layer = 1;

std::vector<float> random_numbers(size_t n, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<float> values;
    for (size_t i = 0; i < n; ++i) {
        values.push_back(static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-52 - 1.0));
    }
    return values;
}

// One layer in F32 and sum(layer(h) * direction), a number that everything has a gradient of.
class LayerLoss {
 public:
    explicit LayerLoss(const TinyModel &tiny) {
        write_tiny_gguf(tiny, path_);
        const GgufFile file(path_);
        const FileBytes bytes(path_, false);
        hparams_ = read_hparams(file);
        const auto requests = list_weights(file, hparams_, weights_);
        const std::string prefix = fmt::format("blk.{}.", k_layer);
        std::vector<const WeightRequest *> mine;
        for (const WeightRequest &request : requests) {
            if (request.info.name.starts_with(prefix) || request.info.name.starts_with("rope_")) {
                *request.slot = constants_.make(GGML_TYPE_F32, request.info.ne);
                mine.push_back(&request);
            }
        }
        make_inputs();
        constants_.allocate(backend_.get());
        for (const WeightRequest *request : mine) {
            upload(*request->slot, read_as_f32(bytes, request->info));
        }
        fill_inputs();
    }

    std::vector<ggml_tensor *> parameters() const {
        std::vector<ggml_tensor *> found = {h_};
        for (const LayerTensor &tensor : k_layer_tensors) {
            ggml_tensor *weight = weights_.layers[k_layer].*tensor.slot;
            if (weight != nullptr && tensor.kind != TensorKind::head_norm &&
                tensor.kind != TensorKind::bias) {
                found.push_back(weight);
            }
        }
        return found;
    }

    double value() {
        GradientGraph graph(hparams_);
        ggml_tensor *out = build(graph);
        graph.run(backend_.get(), out);
        const std::vector<float> rows = download(out);
        const std::vector<float> direction = download(direction_);
        double sum = 0;
        for (size_t i = 0; i < rows.size(); ++i) {
            sum += static_cast<double>(rows[i]) * direction[i];
        }
        return sum;
    }

    std::vector<float> gradient(ggml_tensor *parameter) {
        ggml_set_param(parameter);
        GradientGraph graph(hparams_);
        ggml_tensor *loss = ggml_sum(graph.ctx(), ggml_mul(graph.ctx(), build(graph), direction_));
        graph.run_backward(backend_.get(), loss, std::span(&parameter, 1));
        std::vector<float> found = graph.gradient(parameter);
        parameter->flags &= ~GGML_TENSOR_FLAG_PARAM;
        return found;
    }

 private:
    void make_inputs() {
        const int64_t n = k_n_rows;
        h_ = constants_.make(GGML_TYPE_F32, {hparams_.n_embd, n, 1, 1});
        direction_ = constants_.make(GGML_TYPE_F32, {hparams_.n_embd, n, 1, 1});
        inputs_.positions = constants_.make(GGML_TYPE_I32, {n, 1, 1, 1});
        inputs_.mask = constants_.make(GGML_TYPE_F32, {n, n, 1, 1});
        if (hparams_.temperature != 0) {
            inputs_.temperatures = constants_.make(GGML_TYPE_F32, {1, 1, n, 1});
        }
        if (hparams_.n_expert > 0) {
            inputs_.expert_mask = constants_.make(GGML_TYPE_F32, {hparams_.n_expert, n, 1, 1});
        }
    }

    void fill_inputs() {
        const auto n = static_cast<size_t>(k_n_rows);
        const auto n_embd = static_cast<size_t>(hparams_.n_embd);
        upload(h_, random_numbers(n_embd * n, 1));
        upload(direction_, random_numbers(n_embd * n, 2));
        std::vector<int32_t> positions(n);
        std::iota(positions.begin(), positions.end(), 0);
        upload(inputs_.positions, positions);
        const int window = hparams_.layers[k_layer].window;
        std::vector<float> mask(n * n, -std::numeric_limits<float>::infinity());
        for (int q = 0; q < k_n_rows; ++q) {
            for (int k = window > 0 ? std::max(0, q + 1 - window) : 0; k <= q; ++k) {
                mask[static_cast<size_t>(q) * n + static_cast<size_t>(k)] = 0;
            }
        }
        upload(inputs_.mask, mask);
        if (inputs_.temperatures != nullptr) {
            upload(inputs_.temperatures, std::vector<float>(n, 1.3f));
        }
        if (inputs_.expert_mask != nullptr) {  // the first experts, whichever the router prefers
            std::vector<float> used(static_cast<size_t>(hparams_.n_expert) * n);
            for (size_t i = 0; i < used.size(); ++i) {
                const auto expert = static_cast<int>(i) % hparams_.n_expert;
                used[i] = expert < hparams_.n_expert_used ? 1.0f : 0.0f;
            }
            upload(inputs_.expert_mask, used);
        }
    }

    ggml_tensor *build(const GradientGraph &graph) const {
        return BlockBuilder(graph.ctx(), graph.gf(), hparams_, weights_)
            .whole_block(k_layer, h_, inputs_);
    }

    TempDir dir_;
    std::string path_ = dir_.file("m.gguf");
    Hparams hparams_;
    Weights weights_;
    Constants constants_{64};
    ggml_backend_ptr backend_{ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr)};
    PlainInputs inputs_;
    ggml_tensor *h_ = nullptr;
    ggml_tensor *direction_ = nullptr;
};

class PlainBlockTest : public testing::TestWithParam<TinyModel> {};

// Along a random direction of each parameter the difference quotient is the gradient's product with
// the direction.
TEST_P(PlainBlockTest, GradientsAreDifferenceQuotients) {
    LayerLoss loss(GetParam());
    for (ggml_tensor *parameter : loss.parameters()) {
        SCOPED_TRACE(ggml_get_name(parameter));
        const std::vector<float> at = download(parameter);
        const std::vector<float> direction = random_numbers(at.size(), 3);
        double size = 0;
        double length = 0;
        for (size_t i = 0; i < at.size(); ++i) {
            size += static_cast<double>(at[i]) * at[i];
            length += static_cast<double>(direction[i]) * direction[i];
        }
        const auto step = static_cast<float>(2e-3 * std::sqrt(size / length));
        const auto value_at = [&](float factor) {
            std::vector<float> moved = at;
            for (size_t i = 0; i < at.size(); ++i) {
                moved[i] += factor * step * direction[i];
            }
            upload(parameter, moved);
            return loss.value();
        };
        const double quotient = (value_at(1) - value_at(-1)) / (2.0 * static_cast<double>(step));
        upload(parameter, at);
        const std::vector<float> gradient = loss.gradient(parameter);
        double expected = 0;
        double norm = 0;
        for (size_t i = 0; i < gradient.size(); ++i) {
            expected += static_cast<double>(gradient[i]) * direction[i];
            norm += static_cast<double>(gradient[i]) * gradient[i];
        }
        EXPECT_GT(norm, 0);
        // The product's own size is about the root of norm / 3.
        EXPECT_NEAR(quotient, expected, 0.03 * std::sqrt(norm / 3.0));
    }
}

// Those that Taylor scores are computed for.
std::vector<TinyModel> models() {
    std::vector<TinyModel> models = tiny_architectures();
    std::erase_if(models, [](const TinyModel &model) { return model.n_embd_per_layer > 0; });
    return models;
}

INSTANTIATE_TEST_SUITE_P(Tiny, PlainBlockTest, testing::ValuesIn(models()),
                         [](const auto &test) { return test.param.name; });

}  // namespace
}  // namespace orthorank::test
