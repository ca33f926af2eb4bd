#include "model/fingerprint.h"

#include "base/fnv1a.h"
#include "model/weight_store.h"

namespace orthorank {

std::string model_fingerprint(const GgufFile &gguf, const Hparams &h,
                              const std::vector<WeightRequest> &requests, const FileBytes &file) {
    Fnv1a fnv;
    fnv.text(arch_name(h.arch));
    for (const int n : {h.n_layers, h.n_embd, h.n_vocab, h.n_ctx_train, h.head_dim_k, h.head_dim_v,
                        h.n_expert, h.n_expert_used, h.n_rot, h.rope_n_ctx_orig}) {
        fnv.integer(n);
    }
    for (const LayerShape &layer : h.layers) {
        fnv.integer(layer.n_head);
        fnv.integer(layer.n_head_kv);
        fnv.integer(layer.n_ff);
    }
    for (const float x : {h.rms_eps, h.rope_freq_base, h.rope_freq_scale, h.rope_attn_factor,
                          h.rope_ext_factor, h.rope_beta_fast, h.rope_beta_slow}) {
        fnv.number(x);
    }
    for (const std::string_view token : gguf.texts("tokenizer.ggml.tokens")) {
        fnv.text(token);
    }
    for (const WeightRequest &request : requests) {
        if (request.is_norm) {
            const std::vector<float> values = read_as_f32(file, *request.info);
            fnv.text(request.info->name);
            fnv.bytes(values.data(), values.size() * sizeof(float));
        }
    }
    return fnv.hex();
}

}  // namespace orthorank
