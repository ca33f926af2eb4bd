// A GGUF of architecture llama, or gemma4 in the form of its small members, with random weights,
// for measuring speed at sizes that no file is at hand for: `synthetic_gguf OUT.gguf [--shape
// SHAPE] [--type TYPE] [--ctx N]`. Matrices are put together from a pool of random blocks, tensor
// by tensor, so memory stays small and the time is that of writing the file. Gains are such that
// activations stay near 1; the vocabulary is one token a byte and names without meaning, so texts
// take many tokens. Exit code 1 and one line when something does not fit.
#include <ggml-cpp.h>
#include <ggml.h>
#include <gguf.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/output_file.h"
#include "model/file_type.h"
#include "model/gguf_output.h"
#include "model/weight_types.h"

namespace {

using orthorank::ErrorKind;
using orthorank::fail;
using orthorank::OutputFile;

struct Shape {
    int n_embd, n_layers, n_head, n_head_kv, n_ff, n_vocab;
    // gemma4 only: width of heads of layers with a window (four of five; the others' are twice as
    // wide), layers at the end without keys (their n_ff is doubled), and each layer's own
    // embedding.
    int head_dim = 0;
    int n_without_keys = 0;
    int n_embd_per_layer = 0;

    bool is_gemma4() const { return head_dim > 0; }
    const char *arch() const { return is_gemma4() ? "gemma4" : "llama"; }
    bool has_window(int il) const { return is_gemma4() && il % 5 != 4; }
    bool has_keys(int il) const { return il < n_layers - n_without_keys; }
    int head_of(int il) const {
        return !is_gemma4() ? n_embd / n_head : has_window(il) ? head_dim : 2 * head_dim;
    }
    int ff_of(int il) const { return has_keys(il) ? n_ff : 2 * n_ff; }
};

struct Options {
    std::string out;
    std::string shape = "llama-1b";
    std::string type = "q4_k";
    int n_ctx = 32768;
};

constexpr Shape k_llama_1b = {2048, 16, 32, 8, 8192, 128256};                // Llama 3.2 1B
constexpr Shape k_llama_3b = {3072, 28, 24, 8, 8192, 128256};                // Llama 3.2 3B
constexpr Shape k_gemma4_e2b = {1536, 35, 8, 1, 6144, 32768, 256, 20, 256};  // of fewer tokens
constexpr int k_n_byte_tokens = 259;  // unknown, BOS, EOS, 256 bytes
constexpr int64_t k_n_pool_blocks = 1024;
constexpr const char *k_usage =
    "usage: synthetic_gguf OUT.gguf [--shape llama-1b|llama-3b|gemma4-e2b|"
    "D,LAYERS,HEADS,KV,FF,VOCAB[,HEAD,KEYLESS,PER_LAYER]] [--type TYPE] [--ctx N]";

int positive(const std::string &text) {
    int n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size() || n < 1 || n > (1 << 24)) {
        fail(ErrorKind::usage, "'{}' is no size from 1 to {}", text, 1 << 24);
    }
    return n;
}

Options options_of(int argc, char **argv) {
    Options options;
    if (argc < 2 || argc % 2 != 0 || argv[1][0] == '-') {
        fail(ErrorKind::usage, "{}", k_usage);
    }
    options.out = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const std::string name = argv[i];
        const std::string value = argv[i + 1];
        if (name == "--shape") {
            options.shape = value;
        } else if (name == "--type") {
            options.type = value;
        } else if (name == "--ctx") {
            options.n_ctx = positive(value);
        } else {
            fail(ErrorKind::usage, "{}", k_usage);
        }
    }
    return options;
}

Shape shape_of(const std::string &text) {
    if (text == "llama-1b") return k_llama_1b;
    if (text == "llama-3b") return k_llama_3b;
    if (text == "gemma4-e2b") return k_gemma4_e2b;
    std::vector<int> n;
    for (size_t first = 0; first <= text.size();) {
        const size_t end = std::min(text.find(',', first), text.size());
        n.push_back(positive(text.substr(first, end - first)));
        first = end + 1;
    }
    if (n.size() != 6 && n.size() != 9) {
        fail(ErrorKind::usage, "shape '{}' has {} numbers, not 6 or 9: {}", text, n.size(),
             k_usage);
    }
    n.resize(9, 0);
    const Shape s{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]};
    if (s.is_gemma4()) {
        const int n_own = s.n_layers - s.n_without_keys;
        if (s.n_head % s.n_head_kv != 0 || s.head_dim % 2 != 0 || n_own < 5 || n_own % 5 != 0) {
            fail(ErrorKind::usage,
                 "{} heads on {} of {}, {} layers with keys: expected a multiple, an even number, "
                 "a multiple of 5",
                 s.n_head, s.n_head_kv, s.head_dim, n_own);
        }
    } else if (s.n_embd % s.n_head != 0 || s.n_head % s.n_head_kv != 0 ||
               s.n_embd / s.n_head % 2 != 0) {
        fail(ErrorKind::usage, "{} dimensions do not fit {} heads on {}", s.n_embd, s.n_head,
             s.n_head_kv);
    }
    if (s.n_vocab < k_n_byte_tokens) {
        fail(ErrorKind::usage, "a vocabulary has {} tokens or more", k_n_byte_tokens);
    }
    return s;
}

// Quantised blocks of random normal values, to be put together to rows in any order.
class Pool {
 public:
    Pool(ggml_type type, float scale) {
        const int64_t n_block = std::max<int64_t>(ggml_blck_size(type), 32);
        std::mt19937 random(1);
        std::normal_distribution<float> normal(0.0f, scale);
        std::vector<float> values(static_cast<size_t>(n_block * k_n_pool_blocks));
        for (float &value : values) {
            value = normal(random);
        }
        block_bytes_ = ggml_row_size(type, n_block);
        bytes_.resize(block_bytes_ * k_n_pool_blocks);
        ggml_quantize_chunk(type, values.data(), bytes_.data(), 0, k_n_pool_blocks, n_block,
                            nullptr);
    }

    void write(OutputFile &out, size_t n_bytes, std::mt19937 &random) const {
        std::vector<char> part;
        while (n_bytes > 0) {
            part.clear();
            while (part.size() < std::min<size_t>(n_bytes, 1 << 20)) {
                const char *block = bytes_.data() + random() % k_n_pool_blocks * block_bytes_;
                part.insert(part.end(), block, block + block_bytes_);
            }
            out.write({part.data(), part.size()});
            n_bytes -= part.size();
        }
    }

 private:
    size_t block_bytes_ = 0;
    std::vector<char> bytes_;
};

class Writer {
 public:
    Writer(const Options &options)
        : options_(options),
          s_(shape_of(options.shape)),
          type_(static_cast<ggml_type>(orthorank::ggml_type_of(options.type))),
          meta_(gguf_init_empty()),
          ctx_(ggml_init({ggml_tensor_overhead() * (20u * s_.n_layers + 8u), nullptr, true})) {}

    void write() {
        set_hparams();
        set_vocab();
        add_tensors();
        orthorank::refuse_gguf_output(options_.out);
        OutputFile out(options_.out);
        std::string meta(gguf_get_meta_size(meta_.get()), '\0');
        gguf_get_meta_data(meta_.get(), meta.data());
        out.write(meta);
        for (ggml_tensor *t = ggml_get_first_tensor(ctx_.get()); t != nullptr;
             t = ggml_get_next_tensor(ctx_.get(), t)) {
            write_tensor(out, *t);
        }
        out.finish();
    }

 private:
    std::string key(const char *name) const { return std::string(s_.arch()) + "." + name; }
    void set(const char *name, int n) {
        gguf_set_val_u32(meta_.get(), key(name).c_str(), static_cast<uint32_t>(n));
    }

    void set_hparams() {
        gguf_context *meta = meta_.get();
        gguf_set_val_str(meta, "general.architecture", s_.arch());
        gguf_set_val_str(meta, "general.name", ("synthetic " + options_.shape).c_str());
        gguf_set_val_u32(
            meta, "general.file_type",
            static_cast<uint32_t>(orthorank::file_type_number(options_.type).value_or(0)));
        set("block_count", s_.n_layers);
        set("context_length", options_.n_ctx);
        set("embedding_length", s_.n_embd);
        set("attention.head_count", s_.n_head);
        set("attention.head_count_kv", s_.n_head_kv);
        set("vocab_size", s_.n_vocab);
        gguf_set_val_f32(meta, key("rope.freq_base").c_str(), 500000.0f);
        gguf_set_val_f32(meta, key("attention.layer_norm_rms_epsilon").c_str(), 1e-5f);
        if (s_.is_gemma4()) {
            set_gemma4();
        } else {
            set("feed_forward_length", s_.n_ff);
            set("rope.dimension_count", s_.n_embd / s_.n_head);
        }
    }

    void set_gemma4() {
        constexpr int k_window = 512;
        std::vector<int32_t> widths;
        std::vector<int8_t> windows;
        for (int il = 0; il < s_.n_layers; ++il) {
            widths.push_back(s_.ff_of(il));
            windows.push_back(s_.has_window(il) ? 1 : 0);
        }
        gguf_context *meta = meta_.get();
        gguf_set_arr_data(meta, key("feed_forward_length").c_str(), GGUF_TYPE_INT32, widths.data(),
                          widths.size());
        gguf_set_arr_data(meta, key("attention.sliding_window_pattern").c_str(), GGUF_TYPE_BOOL,
                          windows.data(), windows.size());
        set("attention.sliding_window", k_window);
        set("attention.shared_kv_layers", s_.n_without_keys);
        set("embedding_length_per_layer_input", s_.n_embd_per_layer);
        for (const char *name :
             {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
            set(name, 2 * s_.head_dim);
            set((std::string(name) + "_swa").c_str(), s_.head_dim);
        }
        gguf_set_val_f32(meta, key("rope.freq_base_swa").c_str(), 10000.0f);
        gguf_set_val_f32(meta, key("final_logit_softcapping").c_str(), 30.0f);
    }

    void set_vocab() {
        constexpr int32_t k_normal = 1, k_unknown = 2, k_control = 3, k_byte = 6;
        std::vector<std::string> names = {"<unk>", "<s>", "</s>"};
        std::vector<int32_t> types = {k_unknown, k_control, k_control};
        for (int byte = 0; byte < 256; ++byte) {
            names.push_back(fmt::format("<0x{:02X}>", byte));
        }
        types.resize(k_n_byte_tokens, k_byte);
        while (static_cast<int>(names.size()) < s_.n_vocab) {
            names.push_back(fmt::format("[{}]", names.size()));
        }
        types.resize(names.size(), k_normal);
        std::vector<const char *> texts;
        for (const std::string &name : names) {
            texts.push_back(name.c_str());
        }
        const std::vector<float> scores(names.size(), 0.0f);
        gguf_context *meta = meta_.get();
        gguf_set_val_str(meta, "tokenizer.ggml.model", "llama");
        gguf_set_arr_str(meta, "tokenizer.ggml.tokens", texts.data(), texts.size());
        gguf_set_arr_data(meta, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(),
                          scores.size());
        gguf_set_arr_data(meta, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                          types.size());
        gguf_set_val_u32(meta, "tokenizer.ggml.unknown_token_id", 0);
        gguf_set_val_u32(meta, "tokenizer.ggml.bos_token_id", 1);
        gguf_set_val_u32(meta, "tokenizer.ggml.eos_token_id", 2);
    }

    void norm(const std::string &name) { ones(name, s_.n_embd); }
    void ones(const std::string &name, int64_t n) {
        ggml_tensor *t = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, n);
        ggml_set_name(t, name.c_str());
        gguf_add_tensor(meta_.get(), t);
    }

    void matrix(const std::string &name, int64_t n_in, int64_t n_out) {
        const int64_t n_block = std::max<int64_t>(ggml_blck_size(type_), 32);
        if (n_in % n_block != 0) {
            fail(ErrorKind::usage, "{} needs rows divisible by {}, {} has rows of {}",
                 options_.type, n_block, name, n_in);
        }
        ggml_tensor *t = ggml_new_tensor_2d(ctx_.get(), type_, n_in, n_out);
        ggml_set_name(t, name.c_str());
        gguf_add_tensor(meta_.get(), t);
    }

    // The head is the embedding again, as in Llama 3.2 and Gemma.
    void add_tensors() {
        matrix("token_embd.weight", s_.n_embd, s_.n_vocab);
        norm("output_norm.weight");
        if (s_.is_gemma4()) {
            const int64_t n = int64_t{s_.n_embd_per_layer} * s_.n_layers;
            matrix("per_layer_token_embd.weight", n, s_.n_vocab);
            matrix("per_layer_model_proj.weight", s_.n_embd, n);
            ones("per_layer_proj_norm.weight", s_.n_embd_per_layer);
            ones("rope_freqs.weight", s_.head_dim);
        }
        for (int il = 0; il < s_.n_layers; ++il) {
            add_layer(il, fmt::format("blk.{}.", il));
        }
    }

    void add_layer(int il, const std::string &blk) {
        const int64_t d = s_.n_embd, d_head = s_.head_of(il), d_ff = s_.ff_of(il);
        norm(blk + "attn_norm.weight");
        matrix(blk + "attn_q.weight", d, d_head * s_.n_head);
        if (s_.has_keys(il)) {
            matrix(blk + "attn_k.weight", d, d_head * s_.n_head_kv);
            matrix(blk + "attn_v.weight", d, d_head * s_.n_head_kv);
        }
        matrix(blk + "attn_output.weight", d_head * s_.n_head, d);
        norm(blk + "ffn_norm.weight");
        matrix(blk + "ffn_gate.weight", d, d_ff);
        matrix(blk + "ffn_up.weight", d, d_ff);
        matrix(blk + "ffn_down.weight", d_ff, d);
        if (!s_.is_gemma4()) {
            return;
        }
        ones(blk + "attn_q_norm.weight", d_head);
        if (s_.has_keys(il)) {
            ones(blk + "attn_k_norm.weight", d_head);
        }
        norm(blk + "post_attention_norm.weight");
        norm(blk + "post_ffw_norm.weight");
        matrix(blk + "inp_gate.weight", d, s_.n_embd_per_layer);
        matrix(blk + "proj.weight", s_.n_embd_per_layer, d);
        norm(blk + "post_norm.weight");
        ones(blk + "layer_output_scale.weight", 1);
    }

    void write_tensor(OutputFile &out, const ggml_tensor &t) {
        const size_t n_bytes = ggml_nbytes(&t);
        if (ggml_n_dims(&t) == 1) {
            const std::vector<float> ones(static_cast<size_t>(t.ne[0]), 1.0f);
            out.write({reinterpret_cast<const char *>(ones.data()), n_bytes});
        } else {
            const auto pool =
                pools_.try_emplace(t.ne[0], type_, 1.0f / std::sqrt(static_cast<float>(t.ne[0])));
            pool.first->second.write(out, n_bytes, random_);
        }
        out.write(std::string(GGML_PAD(n_bytes, GGUF_DEFAULT_ALIGNMENT) - n_bytes, '\0'));
    }

    const Options &options_;
    Shape s_;
    ggml_type type_;
    gguf_context_ptr meta_;
    ggml_context_ptr ctx_;
    std::mt19937 random_{2};
    std::map<int64_t, Pool> pools_;  // by row length
};

}  // namespace

int main(int argc, char **argv) {
    try {
        Options options = options_of(argc, argv);
        const std::string type = orthorank::weight_types_from_text(options.type).prefill;
        if (type == orthorank::k_file_weights || type == orthorank::k_auto_weights) {
            fail(ErrorKind::usage, "'{}' is no type for a file", options.type);
        }
        options.type = type;
        Writer(options).write();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "synthetic_gguf: %s\n", error.what());
        return 1;
    }
    return 0;
}
