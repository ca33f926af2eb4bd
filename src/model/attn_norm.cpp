#include "model/attn_norm.h"

#include <ggml-backend.h>

#include <cmath>

#include "base/error.h"

namespace orthorank {

std::vector<float> attn_normed_rows(const Model &model, int il, std::span<const float> hidden) {
    const ggml_tensor *norm = model.weights().layers[static_cast<size_t>(il)].attn_norm;
    const auto n_embd = static_cast<size_t>(model.hparams().n_embd);
    CHECK(norm->type == GGML_TYPE_F32 && static_cast<size_t>(ggml_nelements(norm)) == n_embd);
    CHECK(hidden.size() % n_embd == 0);
    std::vector<float> weight(n_embd);
    ggml_backend_tensor_get(norm, weight.data(), 0, ggml_nbytes(norm));
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

}  // namespace orthorank
