// A GGUF of architecture llama with random weights, for measuring speed at sizes that no file is at
// hand for: `synthetic_gguf OUT.gguf [--shape SHAPE] [--type TYPE] [--ctx N]`. Matrices are put
// together from a pool of random blocks, tensor by tensor, so memory stays small and the time is
// that of writing the file. Gains are such that activations stay near 1; the vocabulary is one
// token a byte and names without meaning, so texts take many tokens. Exit code 1 and one line when
// something does not fit.
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
};

struct Options {
    std::string out;
    std::string shape = "llama-1b";
    std::string type = "q4_k";
    int n_ctx = 32768;
};

constexpr Shape k_llama_1b = {2048, 16, 32, 8, 8192, 128256};  // Llama 3.2 1B
constexpr Shape k_llama_3b = {3072, 28, 24, 8, 8192, 128256};  // Llama 3.2 3B
constexpr int k_n_byte_tokens = 259;                           // unknown, BOS, EOS, 256 bytes
constexpr int64_t k_n_pool_blocks = 1024;
constexpr const char *k_usage =
    "usage: synthetic_gguf OUT.gguf [--shape llama-1b|llama-3b|D,LAYERS,HEADS,KV,FF,VOCAB] "
    "[--type TYPE] [--ctx N]";

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
    std::vector<int> n;
    for (size_t first = 0; first <= text.size();) {
        const size_t end = std::min(text.find(',', first), text.size());
        n.push_back(positive(text.substr(first, end - first)));
        first = end + 1;
    }
    if (n.size() != 6) {
        fail(ErrorKind::usage, "shape '{}' has {} numbers, not 6: {}", text, n.size(), k_usage);
    }
    const Shape s{n[0], n[1], n[2], n[3], n[4], n[5]};
    if (s.n_embd % s.n_head != 0 || s.n_head % s.n_head_kv != 0 || s.n_embd / s.n_head % 2 != 0) {
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
          ctx_(ggml_init({ggml_tensor_overhead() * (9u * s_.n_layers + 8u), nullptr, true})) {}

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
    void set(const char *key, int n) {
        gguf_set_val_u32(meta_.get(), key, static_cast<uint32_t>(n));
    }

    void set_hparams() {
        gguf_set_val_str(meta_.get(), "general.architecture", "llama");
        gguf_set_val_str(meta_.get(), "general.name", ("synthetic " + options_.shape).c_str());
        set("general.file_type", orthorank::file_type_number(options_.type).value_or(0));
        set("llama.block_count", s_.n_layers);
        set("llama.context_length", options_.n_ctx);
        set("llama.embedding_length", s_.n_embd);
        set("llama.feed_forward_length", s_.n_ff);
        set("llama.attention.head_count", s_.n_head);
        set("llama.attention.head_count_kv", s_.n_head_kv);
        set("llama.rope.dimension_count", s_.n_embd / s_.n_head);
        set("llama.vocab_size", s_.n_vocab);
        gguf_set_val_f32(meta_.get(), "llama.rope.freq_base", 500000.0f);
        gguf_set_val_f32(meta_.get(), "llama.attention.layer_norm_rms_epsilon", 1e-5f);
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
        set("tokenizer.ggml.unknown_token_id", 0);
        set("tokenizer.ggml.bos_token_id", 1);
        set("tokenizer.ggml.eos_token_id", 2);
    }

    void norm(const std::string &name) {
        ggml_tensor *t = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, s_.n_embd);
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

    // The head is the embedding again, as in Llama 3.2.
    void add_tensors() {
        const int64_t d = s_.n_embd, d_kv = d / s_.n_head * s_.n_head_kv, d_ff = s_.n_ff;
        matrix("token_embd.weight", d, s_.n_vocab);
        norm("output_norm.weight");
        for (int il = 0; il < s_.n_layers; ++il) {
            const std::string blk = fmt::format("blk.{}.", il);
            norm(blk + "attn_norm.weight");
            matrix(blk + "attn_q.weight", d, d);
            matrix(blk + "attn_k.weight", d, d_kv);
            matrix(blk + "attn_v.weight", d, d_kv);
            matrix(blk + "attn_output.weight", d, d);
            norm(blk + "ffn_norm.weight");
            matrix(blk + "ffn_gate.weight", d, d_ff);
            matrix(blk + "ffn_up.weight", d, d_ff);
            matrix(blk + "ffn_down.weight", d_ff, d);
        }
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
