#include <ostream>

#include "support/tiny_gguf.h"

namespace orthorank::test {

TinyModel tiny_llama() {
    return {};
}

TinyModel tiny_llama_gqa_tied() {
    TinyModel m;
    m.name = "llama_gqa_tied";
    m.n_head_kv = 2;
    m.is_tied = true;
    return m;
}

TinyModel tiny_llama_rope() {
    TinyModel m;
    m.name = "llama_rope";
    m.n_head_kv = 2;
    m.has_rope_freqs = true;
    m.rope_freq_base = 500000;
    return m;
}

TinyModel tiny_llama_yarn() {
    TinyModel m;
    m.name = "llama_yarn";
    m.rope_scaling = "yarn";
    m.rope_factor = 4;
    return m;
}

TinyModel tiny_llama_biases() {
    TinyModel m;
    m.name = "llama_biases";
    m.has_qkv_biases = true;
    m.has_all_biases = true;
    return m;
}

TinyModel tiny_mixtral() {
    TinyModel m;
    m.name = "mixtral";
    m.n_head_kv = 2;
    m.n_expert = 4;
    m.n_expert_used = 2;
    return m;
}

TinyModel tiny_qwen2() {
    TinyModel m;
    m.name = "qwen2";
    m.arch = "qwen2";
    m.n_head_kv = 2;
    m.has_qkv_biases = true;
    m.rope_freq_base = 1000000;
    return m;
}

TinyModel tiny_qwen3() {
    TinyModel m;
    m.name = "qwen3";
    m.arch = "qwen3";
    m.n_head_kv = 2;
    m.head_dim = 32;
    m.has_qk_norms = true;
    m.is_tied = true;
    m.rope_freq_base = 1000000;
    return m;
}

std::vector<TinyModel> tiny_models() {
    return {tiny_llama(),        tiny_llama_gqa_tied(), tiny_llama_rope(), tiny_llama_yarn(),
            tiny_llama_biases(), tiny_mixtral(),        tiny_qwen2(),      tiny_qwen3()};
}

TinyModel widened(TinyModel model) {
    model.n_embd = 256;
    model.n_ff = 512;
    model.head_dim = model.head_dim > 0 ? 256 / model.n_head : 0;
    model.n_ff_expert = model.n_ff_expert > 0 ? 256 : 0;
    model.n_ff_shared = model.n_ff_shared > 0 ? 512 : 0;
    return model;
}

TinyFile make_uneven_file(const TinyModel &model, int n_more) {
    TinyFile file = make_tiny_file(model);
    const int64_t head_dim = model.head_dim > 0 ? model.head_dim : model.n_embd / model.n_head;
    std::vector<int32_t> heads;
    std::vector<int32_t> heads_kv;
    std::vector<int32_t> widths;
    for (int il = 0; il < model.n_layers + n_more; ++il) {
        const int divisor = il % 2 == 0 ? 2 : 1;
        heads.push_back(model.n_head / divisor);
        heads_kv.push_back(model.n_head_kv / divisor);
        widths.push_back(model.n_ff / divisor);
        if (il >= model.n_layers) {
            continue;
        }
        const std::string blk = "blk." + std::to_string(il) + ".";
        file.tensor(blk + "attn_q.weight").ne = {model.n_embd, head_dim * heads.back()};
        file.tensor(blk + "attn_k.weight").ne = {model.n_embd, head_dim * heads_kv.back()};
        file.tensor(blk + "attn_v.weight").ne = {model.n_embd, head_dim * heads_kv.back()};
        file.tensor(blk + "attn_output.weight").ne = {head_dim * heads.back(), model.n_embd};
        file.tensor(blk + "ffn_gate.weight").ne = {model.n_embd, widths.back()};
        file.tensor(blk + "ffn_up.weight").ne = {model.n_embd, widths.back()};
        file.tensor(blk + "ffn_down.weight").ne = {widths.back(), model.n_embd};
    }
    const auto set = [&](const char *key, const std::vector<int32_t> &values) {
        gguf_set_arr_data(file.meta.get(), (model.arch + key).c_str(), GGUF_TYPE_INT32,
                          values.data(), values.size());
    };
    set(".attention.head_count", heads);
    set(".attention.head_count_kv", heads_kv);
    set(".feed_forward_length", widths);
    gguf_set_val_u32(file.meta.get(), (model.arch + ".attention.key_length").c_str(),
                     static_cast<uint32_t>(head_dim));
    gguf_set_val_u32(file.meta.get(), (model.arch + ".attention.value_length").c_str(),
                     static_cast<uint32_t>(head_dim));
    return file;
}

std::ostream &operator<<(std::ostream &out, const TinyModel &model) {
    return out << model.name;
}

}  // namespace orthorank::test
