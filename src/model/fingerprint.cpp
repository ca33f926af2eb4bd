#include "model/fingerprint.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/fnv1a.h"
#include "model/weight_store.h"

namespace orthorank {

namespace {

// What a plain layer does not have, so that models of plain layers keep the fingerprint by which
// plans know them.
void add_peculiarities(Fnv1a &fnv, const Hparams &h) {
    LayerSpec plain;
    plain.rotation = h.layers.front().rotation;
    plain.head_dim = h.layers.front().head_dim;
    plain.attention_scale = 1.0f / std::sqrt(static_cast<float>(plain.head_dim));
    for (const LayerSpec &layer : h.layers) {
        plain.n_head = layer.n_head;
        plain.n_head_kv = layer.n_head_kv;
        plain.n_ff = layer.n_ff;
        if (layer == plain) {
            continue;
        }
        for (const int n : {layer.window, layer.rotation.n_rot, static_cast<int>(layer.gate),
                            static_cast<int>(layer.expert_shares), layer.n_ff_shared}) {
            fnv.integer(n);
        }
        for (const float x : {layer.rotation.freq_base, layer.rotation.freq_scale,
                              layer.rotation.ext_factor, layer.query_scale, layer.attention_scale,
                              layer.attention_cap, layer.residual_scale}) {
            fnv.number(x);
        }
        if (layer.head_dim != plain.head_dim || layer.normalises_values || layer.kv_layer >= 0) {
            for (const int n : {layer.head_dim, layer.normalises_values ? 1 : 0, layer.kv_layer}) {
                fnv.integer(n);
            }
        }
    }
    const std::array<float, 4> numbers = {h.embedding_scale, h.logit_scale, h.logit_cap,
                                          h.temperature};
    if (numbers != std::array<float, 4>{1, 1, 0, 0}) {
        for (const float x : numbers) {
            fnv.number(x);
        }
        fnv.integer(h.temperature_length);
    }
    if (h.n_embd_per_layer > 0) {
        fnv.integer(h.n_embd_per_layer);
    }
}

}  // namespace

std::string model_fingerprint(const GgufFile &gguf, const Hparams &h,
                              const std::vector<WeightRequest> &requests, const FileBytes &file) {
    Fnv1a fnv;
    const Rotation &rotation = h.layers.front().rotation;
    fnv.text(h.arch);
    for (const int n : {h.n_layers, h.n_embd, h.n_vocab, h.n_ctx_train, h.layers.front().head_dim,
                        h.layers.front().head_dim, h.n_expert, h.n_expert_used, rotation.n_rot,
                        rotation.n_ctx_orig}) {
        fnv.integer(n);
    }
    for (const LayerSpec &layer : h.layers) {
        fnv.integer(layer.n_head);
        fnv.integer(layer.n_head_kv);
        fnv.integer(layer.n_ff);
    }
    for (const float x : {h.rms_eps, rotation.freq_base, rotation.freq_scale, rotation.attn_factor,
                          rotation.ext_factor, rotation.beta_fast, rotation.beta_slow}) {
        fnv.number(x);
    }
    add_peculiarities(fnv, h);
    for (const std::string_view token : gguf.texts("tokenizer.ggml.tokens")) {
        fnv.text(token);
    }
    for (const WeightRequest &request : requests) {
        if (request.is_norm) {
            const std::vector<float> values = read_as_f32(file, request.info);
            fnv.text(request.info.name);
            fnv.bytes(values.data(), values.size() * sizeof(float));
        }
    }
    return fnv.hex();
}

std::string weights_digest(const std::vector<WeightRequest> &requests, const FileBytes &file) {
    constexpr int64_t k_n_bytes = 4096;
    Fnv1a fnv;
    std::vector<std::byte> scratch;
    for (const WeightRequest &request : requests) {
        const TensorInfo &info = request.info;
        fnv.text(info.name);
        fnv.integer(info.type);
        for (const int64_t n : info.ne) {
            fnv.integer(n);
        }
        const auto bytes = file.bytes(info.offset, std::min(info.n_bytes, k_n_bytes), scratch);
        fnv.bytes(bytes.data(), bytes.size());
    }
    return fnv.hex();
}

}  // namespace orthorank
