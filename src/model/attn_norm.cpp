#include "model/attn_norm.h"

#include <ggml-backend.h>

#include <cmath>

#include "base/error.h"
#include "base/statistics.h"

namespace orthorank {

namespace {

bool has_attn_norm(const Model &model, int il) {
    return model.weights().layers[static_cast<size_t>(il)].attn_norm != nullptr;
}

std::vector<float> attn_norm_weight(const Model &model, int il) {
    const ggml_tensor *norm = model.weights().layers[static_cast<size_t>(il)].attn_norm;
    const auto n_embd = static_cast<size_t>(model.hparams().n_embd);
    CHECK(norm->type == GGML_TYPE_F32 && static_cast<size_t>(ggml_nelements(norm)) == n_embd);
    std::vector<float> weight(n_embd);
    ggml_backend_tensor_get(norm, weight.data(), 0, ggml_nbytes(norm));
    return weight;
}

}  // namespace

std::vector<float> attn_normed_rows(const Model &model, int il, std::span<const float> hidden) {
    const auto n_embd = static_cast<size_t>(model.hparams().n_embd);
    CHECK(hidden.size() % n_embd == 0);
    if (!has_attn_norm(model, il)) {
        return {hidden.begin(), hidden.end()};
    }
    const std::vector<float> weight = attn_norm_weight(model, il);
    std::vector<float> rows(hidden.size());
    for (size_t first = 0; first < hidden.size(); first += n_embd) {
        double squares = 0;
        for (size_t i = 0; i < n_embd; ++i) {
            squares += static_cast<double>(hidden[first + i]) * hidden[first + i];
        }
        const auto scale = static_cast<float>(
            1.0 / std::sqrt(squares / static_cast<double>(n_embd) + model.hparams().rms_eps));
        for (size_t i = 0; i < n_embd; ++i) {
            rows[first + i] = hidden[first + i] * scale * weight[i];
        }
    }
    return rows;
}

double norm_weight_variance(const Model &model, int il) {
    if (!has_attn_norm(model, il)) {
        return 0;
    }
    const std::vector<float> weight = attn_norm_weight(model, il);
    const double centre = mean(std::span(weight));
    double squares = 0;
    for (float value : weight) {
        squares += (value - centre) * (value - centre);
    }
    return squares / static_cast<double>(weight.size());
}

}  // namespace orthorank
