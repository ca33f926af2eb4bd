#include "support/tiny_gguf.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

namespace orthorank::test {

namespace {

// Random numbers that are the same with every standard library: splitmix64, seeded by tensor name.
class Random {
 public:
    Random(uint64_t seed, const std::string &name) : state_(seed * 0x9e3779b97f4a7c15ULL) {
        for (const char c : name) {
            state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
        }
    }
    // In [-1, 1).
    float uniform() {
        state_ += 0x9e3779b97f4a7c15ULL;
        uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        z ^= z >> 31;
        return static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
    }
    // Nearly normal with variance 1: six uniforms, each of variance 1/3.
    float normal() {
        float sum = 0;
        for (int i = 0; i < 6; i++) {
            sum += uniform();
        }
        return sum * std::sqrt(0.5f);
    }

 private:
    uint64_t state_;
};

class Maker {
 public:
    explicit Maker(const TinyModel &model) : m_(model), file_{} {
        file_.meta.reset(gguf_init_empty());
        head_dim_ = m_.head_dim > 0 ? m_.head_dim : m_.n_embd / m_.n_head;
    }

    TinyFile make() {
        set_hparams();
        set_vocabulary();
        matrix("token_embd.weight", {m_.n_embd, k_tiny_n_vocab}, embedding_gain());
        norm("output_norm.weight", m_.n_embd);
        if (m_.n_embd_per_layer > 0) {
            const int64_t n_of_all = int64_t{m_.n_embd_per_layer} * m_.n_layers;
            matrix("per_layer_token_embd.weight", {n_of_all, k_tiny_n_vocab}, 3);
            matrix("per_layer_model_proj.weight", {m_.n_embd, n_of_all});
            norm("per_layer_proj_norm.weight", m_.n_embd_per_layer);
        }
        if (!m_.is_tied) {
            matrix("output.weight", {m_.n_embd, k_tiny_n_vocab}, 3);
        }
        if (m_.has_rope_freqs) {
            rope_freqs("rope_freqs.weight", 8);
        }
        if (m_.has_context_factors) {
            rope_freqs("rope_factors_short.weight", 2);
            rope_freqs("rope_factors_long.weight", 12);
        }
        for (int il = 0; il < m_.n_layers; il++) {
            const std::string blk = "blk." + std::to_string(il) + ".";
            attention(blk, il);
            ffn(blk);
            if (m_.n_embd_per_layer > 0) {
                layer_embedding(blk);
            }
            if (m_.has_layer_scale) {
                add(blk + "layer_output_scale.weight", {1},
                    [](Random &r, int64_t) { return 0.8f + 0.1f * r.uniform(); });
            }
        }
        return std::move(file_);
    }

 private:
    // Embeddings of variance 1; as an output head that would give logits of tens, so a tied one
    // is smaller.
    float embedding_gain() const { return m_.is_tied ? 3.0f : std::sqrt(float(m_.n_embd)); }

    std::string key(const char *name) const { return m_.arch + "." + name; }
    void set_integer(const char *name, int value) {
        gguf_set_val_u32(file_.meta.get(), key(name).c_str(), static_cast<uint32_t>(value));
    }
    void set_number(const char *name, float value) {
        gguf_set_val_f32(file_.meta.get(), key(name).c_str(), value);
    }

    void set_hparams() {
        gguf_context *meta = file_.meta.get();
        gguf_set_val_str(meta, "general.architecture", m_.arch.c_str());
        gguf_set_val_str(meta, "general.name", m_.name.c_str());
        set_integer("block_count", m_.n_layers);
        set_integer("context_length", m_.n_ctx);
        set_integer("embedding_length", m_.n_embd);
        set_integer("feed_forward_length", m_.n_ff);
        set_integer("attention.head_count", m_.n_head);
        set_integer("attention.head_count_kv", m_.n_head_kv);
        set_number("attention.layer_norm_rms_epsilon", 1e-5f);
        set_number("rope.freq_base", m_.rope_freq_base);
        if (m_.head_dim > 0) {
            set_integer("attention.key_length", m_.head_dim);
            set_integer("attention.value_length", m_.head_dim);
        }
        if (m_.arch == "llama" || m_.n_rot > 0) {
            set_integer("rope.dimension_count", n_rot());
        }
        if (m_.head_dim_local > 0) {
            set_integer("attention.key_length_swa", m_.head_dim_local);
            set_integer("attention.value_length_swa", m_.head_dim_local);
            set_integer("rope.dimension_count_swa", m_.head_dim_local);
        }
        if (!m_.windowed.empty()) {
            gguf_set_arr_data(meta, key("attention.sliding_window_pattern").c_str(), GGUF_TYPE_BOOL,
                              m_.windowed.data(), m_.windowed.size());
        }
        if (m_.n_expert > 0) {
            set_integer("expert_count", m_.n_expert);
            set_integer("expert_used_count", m_.n_expert_used);
        }
        for (const auto &[name, value] : m_.integers) {
            set_integer(name.c_str(), value);
        }
        for (const auto &[name, value] : m_.numbers) {
            set_number(name.c_str(), value);
        }
        if (m_.n_ff_expert > 0) {
            set_integer("expert_feed_forward_length", m_.n_ff_expert);
        }
        if (m_.n_ff_shared > 0) {
            set_integer("expert_shared_feed_forward_length", m_.n_ff_shared);
        }
        if (!m_.rope_scaling.empty()) {
            gguf_set_val_str(meta, key("rope.scaling.type").c_str(), m_.rope_scaling.c_str());
        }
        if (m_.rope_factor > 0) {
            set_number("rope.scaling.factor", m_.rope_factor);
            set_integer("rope.scaling.original_context_length", m_.n_ctx / 4);
        }
    }

    void set_vocabulary() {
        constexpr int32_t k_normal = 1, k_unknown = 2, k_control = 3, k_byte = 6;
        std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
        std::vector<int32_t> types = {k_unknown, k_control, k_control};
        for (int byte = 0; byte < 256; byte++) {
            char name[8];
            std::snprintf(name, sizeof(name), "<0x%02X>", byte);
            tokens.emplace_back(name);
            types.push_back(k_byte);
        }
        tokens.emplace_back("\xe2\x96\x81");  // SentencePiece's space
        for (char c = 'a'; c <= 'z'; c++) {
            tokens.emplace_back(1, c);
        }
        tokens.emplace_back("he");
        tokens.emplace_back("the");
        types.resize(tokens.size(), k_normal);
        if (tokens.size() != k_tiny_n_vocab) {
            throw std::logic_error("the tiny vocabulary has another size");
        }
        std::vector<float> scores;
        std::vector<const char *> texts;
        for (size_t i = 0; i < tokens.size(); i++) {
            scores.push_back(types[i] == k_normal ? float(i) - 300.0f : 0.0f);
            texts.push_back(tokens[i].c_str());
        }
        gguf_context *meta = file_.meta.get();
        gguf_set_val_str(meta, "tokenizer.ggml.model", "llama");
        gguf_set_arr_str(meta, "tokenizer.ggml.tokens", texts.data(), texts.size());
        gguf_set_arr_data(meta, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(),
                          scores.size());
        gguf_set_arr_data(meta, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                          types.size());
        gguf_set_val_u32(meta, "tokenizer.ggml.bos_token_id", 1);
        gguf_set_val_u32(meta, "tokenizer.ggml.eos_token_id", 2);
        if (!m_.chat_template.empty()) {
            gguf_set_val_str(meta, "tokenizer.chat_template", m_.chat_template.c_str());
        }
    }

    TinyTensor &add(const std::string &name, std::vector<int64_t> ne,
                    const std::function<float(Random &, int64_t)> &value) {
        TinyTensor tensor{name, GGML_TYPE_F32, std::move(ne), {}};
        int64_t n = 1;
        for (const int64_t dim : tensor.ne) {
            n *= dim;
        }
        Random random(m_.seed, name);
        for (int64_t i = 0; i < n; i++) {
            tensor.values.push_back(value(random, i));
        }
        file_.tensors.push_back(std::move(tensor));
        return file_.tensors.back();
    }

    // Inputs of variance 1 come out with variance gain^2.
    void matrix(const std::string &name, std::vector<int64_t> ne, float gain = 1) {
        const float scale = gain / std::sqrt(static_cast<float>(ne[0]));
        add(name, std::move(ne), [&](Random &r, int64_t) { return r.normal() * scale; }).type =
            m_.weight_type;
    }
    void norm(const std::string &name, int64_t n, float gain = 1) {
        add(name, {n}, [=](Random &r, int64_t) { return gain * (1.0f + 0.3f * r.uniform()); });
    }
    void expert(const std::string &name, std::vector<int64_t> ne, float gain) {
        matrix(name, std::move(ne), gain);
        if (m_.expert_type != GGML_TYPE_COUNT) {
            file_.tensors.back().type = m_.expert_type;
        }
    }
    // Of each expert.
    void biases(const std::string &name, int64_t n) {
        add(name, {n, m_.n_expert}, [](Random &r, int64_t) { return 0.3f * r.uniform(); });
    }
    void bias(const std::string &name, int64_t n) {
        add(name, {n}, [](Random &r, int64_t) { return 0.3f * r.uniform(); });
    }
    int n_rot() const { return m_.n_rot > 0 ? m_.n_rot : head_dim_; }
    // Like Llama 3.1's: fast frequencies as they are, slow ones divided by up to `largest`.
    void rope_freqs(const std::string &name, float largest) {
        const int64_t n = n_rot() / 2;
        add(name, {n}, [n, largest](Random &, int64_t i) {
            return i < n / 2 ? 1.0f
                             : 1.0f + (largest - 1) * float(i - n / 2 + 1) / float(n - n / 2);
        });
    }

    void attention(const std::string &blk, int il) {
        const bool is_local = !m_.windowed.empty() && m_.windowed[static_cast<size_t>(il)] != 0;
        const int head_dim = is_local && m_.head_dim_local > 0 ? m_.head_dim_local : head_dim_;
        const int64_t n_q = int64_t{head_dim} * m_.n_head;
        const int64_t n_kv = int64_t{head_dim} * m_.n_head_kv;
        const bool has_keys = il < m_.n_layers - m_.n_without_keys;
        if (m_.has_pre_norms) {
            norm(blk + "attn_norm.weight", m_.n_embd);
        }
        // A gain above 1 here lets attention prefer some keys to others.
        if (m_.is_fused) {
            matrix(blk + "attn_qkv.weight", {m_.n_embd, n_q + 2 * n_kv}, 1.5f);
        } else {
            matrix(blk + "attn_q.weight", {m_.n_embd, n_q}, 1.5f);
            if (has_keys) {
                matrix(blk + "attn_k.weight", {m_.n_embd, n_kv}, 1.5f);
            }
            if (has_keys && (!m_.lacks_values || is_local)) {
                matrix(blk + "attn_v.weight", {m_.n_embd, n_kv});
            }
        }
        matrix(blk + "attn_output.weight", {n_q, m_.n_embd});
        if (m_.has_sinks) {
            add(blk + "attn_sinks.weight", {m_.n_head},
                [](Random &r, int64_t) { return 3.0f * r.uniform(); });
        }
        if (m_.has_post_norms) {
            norm(blk + "post_attention_norm.weight", m_.n_embd);
        }
        if (m_.has_width_norms) {
            norm(blk + "attn_q_norm.weight", n_q);
            norm(blk + "attn_k_norm.weight", n_kv);
        }
        if (m_.has_qkv_biases) {
            bias(blk + "attn_q.bias", n_q);
            bias(blk + "attn_k.bias", n_kv);
            bias(blk + "attn_v.bias", n_kv);
        }
        if (m_.has_all_biases) {
            bias(blk + "attn_output.bias", m_.n_embd);
        }
        if (m_.has_qk_norms) {
            norm(blk + "attn_q_norm.weight", head_dim, m_.head_norm_gain);
            if (has_keys) {
                norm(blk + "attn_k_norm.weight", head_dim, m_.head_norm_gain);
            }
        }
    }

    void ffn(const std::string &blk) {
        if (m_.has_pre_norms) {
            norm(blk + m_.ffn_norm + ".weight", m_.n_embd);
        }
        if (m_.has_post_norms) {
            norm(blk + "post_ffw_norm.weight", m_.n_embd);
        }
        if (m_.has_dense_beside) {
            experts_beside(blk);
        } else if (m_.n_expert > 0) {
            experts(blk);
            return;
        }
        if (m_.is_fused) {
            matrix(blk + "ffn_up.weight", {m_.n_embd, 2 * m_.n_ff}, 1.5f);
            matrix(blk + "ffn_down.weight", {m_.n_ff, m_.n_embd});
            return;
        }
        matrix(blk + "ffn_gate.weight", {m_.n_embd, m_.n_ff}, 1.5f);
        matrix(blk + "ffn_up.weight", {m_.n_embd, m_.n_ff}, 1.5f);
        matrix(blk + "ffn_down.weight", {m_.n_ff, m_.n_embd});
        if (m_.has_all_biases) {
            bias(blk + "ffn_gate.bias", m_.n_ff);
            bias(blk + "ffn_up.bias", m_.n_ff);
            bias(blk + "ffn_down.bias", m_.n_embd);
        }
    }

    void layer_embedding(const std::string &blk) {
        matrix(blk + "inp_gate.weight", {m_.n_embd, m_.n_embd_per_layer}, 1.5f);
        matrix(blk + "proj.weight", {m_.n_embd_per_layer, m_.n_embd});
        norm(blk + "post_norm.weight", m_.n_embd);
    }

    // Gate and up in one tensor.
    void experts_beside(const std::string &blk) {
        matrix(blk + "ffn_gate_inp.weight", {m_.n_embd, m_.n_expert}, 8);
        norm(blk + "ffn_gate_inp.scale", m_.n_embd);
        norm(blk + "pre_ffw_norm_2.weight", m_.n_embd);
        norm(blk + "post_ffw_norm_1.weight", m_.n_embd);
        norm(blk + "post_ffw_norm_2.weight", m_.n_embd);
        matrix(blk + "ffn_gate_up_exps.weight", {m_.n_embd, 2 * m_.n_ff_expert, m_.n_expert}, 1.5f);
        matrix(blk + "ffn_down_exps.weight", {m_.n_ff_expert, m_.n_embd, m_.n_expert});
        norm(blk + "ffn_down_exps.scale", m_.n_expert);
    }

    void experts(const std::string &blk) {
        const int64_t n_ff = m_.n_ff_expert > 0 ? m_.n_ff_expert : m_.n_ff;
        matrix(blk + "ffn_gate_inp.weight", {m_.n_embd, m_.n_expert});
        const float down_gain = 2.25f / (m_.gate_gain * m_.gate_gain);
        expert(blk + "ffn_gate_exps.weight", {m_.n_embd, n_ff, m_.n_expert}, m_.gate_gain);
        expert(blk + "ffn_up_exps.weight", {m_.n_embd, n_ff, m_.n_expert}, m_.gate_gain);
        expert(blk + "ffn_down_exps.weight", {n_ff, m_.n_embd, m_.n_expert}, down_gain);
        if (m_.has_all_biases) {
            bias(blk + "ffn_gate_inp.bias", m_.n_expert);
            biases(blk + "ffn_gate_exps.bias", n_ff);
            biases(blk + "ffn_up_exps.bias", n_ff);
            biases(blk + "ffn_down_exps.bias", m_.n_embd);
        }
        if (m_.n_ff_shared == 0) {
            return;
        }
        matrix(blk + "ffn_gate_shexp.weight", {m_.n_embd, m_.n_ff_shared}, 1.5f);
        matrix(blk + "ffn_up_shexp.weight", {m_.n_embd, m_.n_ff_shared}, 1.5f);
        matrix(blk + "ffn_down_shexp.weight", {m_.n_ff_shared, m_.n_embd});
        if (m_.has_shared_gate) {
            add(blk + "ffn_gate_inp_shexp.weight", {m_.n_embd},
                [](Random &r, int64_t) { return 0.3f * r.normal(); });
        }
    }

    const TinyModel &m_;
    int head_dim_ = 0;
    TinyFile file_;
};

}  // namespace

TinyFile make_tiny_file(const TinyModel &model) {
    return Maker(model).make();
}

void write_tiny_gguf(const TinyModel &model, const std::string &path) {
    make_tiny_file(model).write(path);
}

}  // namespace orthorank::test
