// Converts a model of llama2.c (version 0, float32) and its tokenizer into a GGUF of architecture
// llama: `stories_to_gguf MODEL.bin TOKENIZER.bin OUT.gguf`. llama2.c rotates neighbouring pairs,
// as this architecture does, so the weights stay as they are. Exit code 1 and one line when a file
// is not what it should be; the output is written under a temporary name first.
#include <ggml.h>
#include <gguf.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/output_file.h"

namespace {

struct Free {
    void operator()(ggml_context *ctx) const { ggml_free(ctx); }
    void operator()(gguf_context *ctx) const { gguf_free(ctx); }
};
using Context = std::unique_ptr<ggml_context, Free>;
using Gguf = std::unique_ptr<gguf_context, Free>;

constexpr int k_header_ints = 7;
constexpr int k_first_piece = 259;  // after unknown, BOS, EOS and the 256 bytes
constexpr int k_longest_piece = 1024;

struct Header {
    int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
    bool is_tied;
};

struct Piece {
    std::string text;
    float score;
};

std::string read_file(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(path + ": cannot be opened");
    return {std::istreambuf_iterator<char>(in), {}};
}

// A negative vocab_size says that the output matrix stands at the end of the file.
Header read_header(const std::string &path, const std::string &bytes) {
    int32_t v[k_header_ints];
    if (bytes.size() < sizeof v) throw std::runtime_error(path + ": too short for a header");
    std::memcpy(v, bytes.data(), sizeof v);
    const bool is_tied = v[5] > 0;
    if (!is_tied && v[5] > INT32_MIN) v[5] = -v[5];
    for (const int32_t n : v) {
        if (n < 1 || n > (1 << 24)) {
            throw std::runtime_error(path + ": header has " + std::to_string(n) +
                                     " where a size is expected: not a llama2.c model?");
        }
    }
    const Header h{v[0], v[1], v[2], v[3], v[4], v[5], v[6], is_tied};
    if (h.dim % h.n_heads != 0 || h.n_heads % h.n_kv_heads != 0 || h.dim / h.n_heads % 2 != 0) {
        throw std::runtime_error(path + ": " + std::to_string(h.dim) + " dimensions do not fit " +
                                 std::to_string(h.n_heads) + " heads on " +
                                 std::to_string(h.n_kv_heads));
    }
    return h;
}

// In double: a damaged header must not overflow here.
void check_size(const std::string &path, const Header &h, size_t found) {
    const double dim = h.dim, layers = h.n_layers, head_dim = h.dim / h.n_heads;
    const double per_layer =
        2 * dim + 2 * dim * dim + 2 * dim * head_dim * h.n_kv_heads + 3 * dim * h.hidden_dim;
    const double embeddings = dim * h.vocab_size * (h.is_tied ? 1 : 2);
    const double expected =
        sizeof(int32_t) * k_header_ints +
        sizeof(float) * (embeddings + layers * per_layer + dim + h.seq_len * head_dim);
    if (static_cast<double>(found) != expected) {
        throw std::runtime_error(path + ": " + std::to_string(found) + " bytes where the header " +
                                 "asks for " + std::to_string(static_cast<uint64_t>(expected)));
    }
}

// Gives out the float arrays of the file one after another, as tensors that point into it.
class Arrays {
 public:
    Arrays(std::string &bytes, ggml_context *ctx, gguf_context *out)
        : next_(bytes.data() + sizeof(int32_t) * k_header_ints), ctx_(ctx), out_(out) {}

    void skip(int64_t n_floats) { next_ += sizeof(float) * static_cast<size_t>(n_floats); }

    // ne1 = 0: one-dimensional, [ne0]; else [ne0, ne1]
    void add(const std::string &name, int64_t ne0, int64_t ne1 = 0) {
        ggml_tensor *t = ne1 == 0 ? ggml_new_tensor_1d(ctx_, GGML_TYPE_F32, ne0)
                                  : ggml_new_tensor_2d(ctx_, GGML_TYPE_F32, ne0, ne1);
        t->data = next_;
        ggml_set_name(t, name.c_str());
        gguf_add_tensor(out_, t);
        next_ += ggml_nbytes(t);
    }

    // One array of every layer, as the file has them.
    void add_per_layer(int n_layers, const std::string &name, int64_t ne0, int64_t ne1 = 0) {
        for (int il = 0; il < n_layers; ++il) {
            add("blk." + std::to_string(il) + "." + name + ".weight", ne0, ne1);
        }
    }

 private:
    char *next_;
    ggml_context *ctx_;
    gguf_context *out_;
};

void add_tensors(Arrays &arrays, const Header &h) {
    const int64_t head_dim = h.dim / h.n_heads, kv_dim = head_dim * h.n_kv_heads;
    arrays.add("token_embd.weight", h.dim, h.vocab_size);
    arrays.add_per_layer(h.n_layers, "attn_norm", h.dim);
    arrays.add_per_layer(h.n_layers, "attn_q", h.dim, h.dim);
    arrays.add_per_layer(h.n_layers, "attn_k", h.dim, kv_dim);
    arrays.add_per_layer(h.n_layers, "attn_v", h.dim, kv_dim);
    arrays.add_per_layer(h.n_layers, "attn_output", h.dim, h.dim);
    arrays.add_per_layer(h.n_layers, "ffn_norm", h.dim);
    arrays.add_per_layer(h.n_layers, "ffn_gate", h.dim, h.hidden_dim);  // w1
    arrays.add_per_layer(h.n_layers, "ffn_down", h.hidden_dim, h.dim);  // w2
    arrays.add_per_layer(h.n_layers, "ffn_up", h.dim, h.hidden_dim);    // w3
    arrays.add("output_norm.weight", h.dim);
    arrays.skip(h.seq_len * head_dim);  // two tables of seq_len x head_dim / 2 for the rotation
    if (!h.is_tied) arrays.add("output.weight", h.dim, h.vocab_size);
}

void set_hparams(gguf_context *out, const Header &h, const std::string &name) {
    const auto set = [out](const char *key, int32_t n) {
        gguf_set_val_u32(out, key, static_cast<uint32_t>(n));
    };
    gguf_set_val_str(out, "general.architecture", "llama");
    gguf_set_val_str(out, "general.name", name.c_str());
    set("general.file_type", 0);  // all F32
    set("llama.block_count", h.n_layers);
    set("llama.context_length", h.seq_len);
    set("llama.embedding_length", h.dim);
    set("llama.feed_forward_length", h.hidden_dim);
    set("llama.attention.head_count", h.n_heads);
    set("llama.attention.head_count_kv", h.n_kv_heads);
    set("llama.rope.dimension_count", h.dim / h.n_heads);
    set("llama.vocab_size", h.vocab_size);
    gguf_set_val_f32(out, "llama.rope.freq_base", 10000.0F);
    gguf_set_val_f32(out, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
}

std::vector<Piece> read_pieces(const std::string &path, int n_pieces) {
    const std::string bytes = read_file(path);
    std::vector<Piece> pieces;
    size_t at = sizeof(int32_t);  // the longest piece, which nothing here needs
    for (int i = 0; i < n_pieces; ++i) {
        float score = 0;
        int32_t length = 0;
        if (at + sizeof score + sizeof length <= bytes.size()) {
            std::memcpy(&score, bytes.data() + at, sizeof score);
            std::memcpy(&length, bytes.data() + at + sizeof score, sizeof length);
        }
        at += sizeof score + sizeof length;
        if (length < 1 || length > k_longest_piece ||
            at + static_cast<size_t>(length) > bytes.size()) {
            throw std::runtime_error(path + ": damaged or cut off at piece " + std::to_string(i) +
                                     " of " + std::to_string(n_pieces));
        }
        pieces.push_back({bytes.substr(at, static_cast<size_t>(length)), score});
        at += static_cast<size_t>(length);
    }
    if (at != bytes.size()) {
        throw std::runtime_error(path + ": more pieces than the model's " +
                                 std::to_string(n_pieces));
    }
    return pieces;
}

// SentencePiece writes a space as U+2581.
std::string with_visible_spaces(const std::string &text) {
    std::string out;
    for (const char c : text) {
        if (c == ' ') {
            out += "\xe2\x96\x81";
        } else {
            out += c;
        }
    }
    return out;
}

void set_vocab(gguf_context *out, std::vector<Piece> pieces) {
    constexpr int32_t k_normal = 1, k_unknown = 2, k_control = 3, k_byte = 6;
    if (pieces.size() < k_first_piece) throw std::runtime_error("the tokenizer has no byte pieces");
    pieces[0].text = "<unk>";
    pieces[1].text = "<s>";
    pieces[2].text = "</s>";
    std::vector<int32_t> types(pieces.size(), k_normal);
    std::vector<float> scores;
    std::vector<const char *> texts;
    for (size_t i = 0; i < pieces.size(); ++i) {
        if (i < k_first_piece) types[i] = i == 0 ? k_unknown : i < 3 ? k_control : k_byte;
        pieces[i].text = with_visible_spaces(pieces[i].text);
        texts.push_back(pieces[i].text.c_str());
        scores.push_back(pieces[i].score);
    }
    gguf_set_val_str(out, "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(out, "tokenizer.ggml.tokens", texts.data(), texts.size());
    gguf_set_arr_data(out, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(),
                      scores.size());
    gguf_set_arr_data(out, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                      types.size());
    gguf_set_val_u32(out, "tokenizer.ggml.unknown_token_id", 0);
    gguf_set_val_u32(out, "tokenizer.ggml.bos_token_id", 1);
    gguf_set_val_u32(out, "tokenizer.ggml.eos_token_id", 2);
    gguf_set_val_bool(out, "tokenizer.ggml.add_bos_token", true);
}

void convert(const std::string &model_path, const std::string &vocab_path,
             const std::string &out_path) {
    std::string bytes = read_file(model_path);
    const Header h = read_header(model_path, bytes);
    check_size(model_path, h, bytes.size());

    const size_t n_tensors = static_cast<size_t>(h.n_layers) * 9 + 3;
    const Context ctx(ggml_init({n_tensors * ggml_tensor_overhead(), nullptr, true}));
    const Gguf out(gguf_init_empty());
    set_hparams(out.get(), h, std::filesystem::path(model_path).stem().string());
    set_vocab(out.get(), read_pieces(vocab_path, h.vocab_size));
    Arrays arrays(bytes, ctx.get(), out.get());
    add_tensors(arrays, h);

    orthorank::OutputFile file(out_path);
    if (!gguf_write_to_file(out.get(), file.temporary_name().c_str(), false)) {
        throw std::runtime_error(out_path + ": cannot be written");
    }
    file.finish();
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: stories_to_gguf MODEL.bin TOKENIZER.bin OUT.gguf\n");
        return 2;
    }
    try {
        convert(argv[1], argv[2], argv[3]);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "stories_to_gguf: %s\n", e.what());
        return 1;
    }
    return 0;
}
