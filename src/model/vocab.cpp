#include "model/vocab.h"

#include <llama.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <mutex>

#include "base/error.h"
#include "model/file_type.h"
#include "model/ggml_log.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/vocab_checks.h"
#include "model/weight_list.h"

namespace orthorank {

namespace {

void start_libllama() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_set(on_ggml_log, nullptr);  // sets ggml's too
        llama_backend_init();
    });
}

struct ModelDeleter {
    void operator()(llama_model *model) const { llama_model_free(model); }
};

// The length of a text as libllama takes it.
int32_t length_of(const std::string &text) {
    if (text.size() > INT_MAX / 4) {
        fail(ErrorKind::limit, "a text of {} bytes is too long to tokenize at once", text.size());
    }
    return static_cast<int32_t>(text.size());
}

}  // namespace

struct Vocab::Impl {
    std::string path;
    std::unique_ptr<llama_model, ModelDeleter> model;
    const llama_vocab *vocab = nullptr;
    std::string chat_template;  // empty: none

    void check_token(int32_t token) const {
        if (token < 0 || token >= llama_vocab_n_tokens(vocab)) {
            fail(ErrorKind::request, "token {} is not in the vocabulary (0 to {})", token,
                 llama_vocab_n_tokens(vocab) - 1);
        }
    }

    // Token ids that libllama reports for a role, where they exist.
    int32_t existing(int32_t token) const {
        return token >= 0 && token < llama_vocab_n_tokens(vocab) ? token : -1;
    }

    // Runs a libllama function that returns the number of items written, or minus the number
    // needed. libllama's tokenizers throw for vocabularies that lack a token they need.
    template <typename Buffer, typename Function>
    void fill(Buffer &buffer, Function function) const {
        try {
            int32_t n = function(buffer.data(), static_cast<int32_t>(buffer.size()));
            if (n < 0) {
                CHECK(n != INT32_MIN);
                buffer.resize(static_cast<size_t>(-n));
                n = function(buffer.data(), static_cast<int32_t>(buffer.size()));
            }
            CHECK(n >= 0 && static_cast<size_t>(n) <= buffer.size());
            buffer.resize(static_cast<size_t>(n));
        } catch (const std::out_of_range &) {
            fail(ErrorKind::format, "{}: the vocabulary lacks a token that its tokenizer needs",
                 path);
        }
    }
};

Vocab::Vocab() : impl_(std::make_unique<Impl>()) {}
Vocab::~Vocab() = default;

std::unique_ptr<Vocab> Vocab::load(const std::string &gguf_path) {
    check_vocabulary(GgufFile(gguf_path));
    start_libllama();
    clear_ggml_error();
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    std::unique_ptr<Vocab> vocab(new Vocab);
    Impl &v = *vocab->impl_;
    v.path = gguf_path;
    v.model.reset(llama_model_load_from_file(gguf_path.c_str(), params));
    if (v.model == nullptr) {
        fail(ErrorKind::format, "{}: libllama cannot read the vocabulary: {}", gguf_path,
             ggml_error_or("no reason given"));
    }
    v.vocab = llama_model_get_vocab(v.model.get());
    if (llama_vocab_get_add_bos(v.vocab) && vocab->bos() < 0) {
        fail(ErrorKind::format, "{}: texts should begin with a BOS token but there is none",
             gguf_path);
    }
    const char *chat_template = llama_model_chat_template(v.model.get(), nullptr);
    v.chat_template = chat_template != nullptr ? chat_template : "";
    return vocab;
}

int Vocab::n_tokens() const {
    return llama_vocab_n_tokens(impl_->vocab);
}

std::vector<int32_t> Vocab::tokenize(const std::string &text, bool add_special,
                                     bool parse_special) const {
    const int32_t length = length_of(text);
    std::vector<int32_t> tokens(text.size() + 2);
    impl_->fill(tokens, [&](int32_t *data, int32_t n) {
        return llama_tokenize(impl_->vocab, text.data(), length, data, n, add_special,
                              parse_special);
    });
    return tokens;
}

std::string Vocab::piece(int32_t token, bool special) const {
    impl_->check_token(token);
    std::string text(32, '\0');
    impl_->fill(text, [&](char *data, int32_t n) {
        return llama_token_to_piece(impl_->vocab, token, data, n, /*lstrip=*/0, special);
    });
    return text;
}

std::string Vocab::detokenize(std::span<const int32_t> tokens, bool special) const {
    for (const int32_t token : tokens) {
        impl_->check_token(token);
    }
    // libllama drops SentencePiece's space before the first word only when no BOS comes first.
    if (!special && !tokens.empty() && tokens.front() == bos()) {
        tokens = tokens.subspan(1);
    }
    std::string text(tokens.size() * 8, '\0');
    impl_->fill(text, [&](char *data, int32_t n) {
        return llama_detokenize(impl_->vocab, tokens.data(), static_cast<int32_t>(tokens.size()),
                                data, n, /*remove_special=*/false, special);
    });
    return text;
}

bool Vocab::is_end_of_generation(int32_t token) const {
    return llama_vocab_is_eog(impl_->vocab, token);
}

int32_t Vocab::bos() const {
    return impl_->existing(llama_vocab_bos(impl_->vocab));
}

int32_t Vocab::eos() const {
    return impl_->existing(llama_vocab_eos(impl_->vocab));
}

bool Vocab::adds_bos() const {
    return llama_vocab_get_add_bos(impl_->vocab);
}

bool Vocab::has_chat_template() const {
    return !impl_->chat_template.empty();
}

std::string Vocab::apply_chat_template(std::span<const ChatMessage> messages) const {
    if (!has_chat_template()) {
        fail(ErrorKind::format, "{} has no chat template", impl_->path);
    }
    std::vector<llama_chat_message> list;
    for (const ChatMessage &message : messages) {
        list.push_back({message.role.c_str(), message.content.c_str()});
    }
    const auto apply = [&](char *buffer, size_t n) {
        return llama_chat_apply_template(impl_->chat_template.c_str(), list.data(), list.size(),
                                         /*add_ass=*/true, buffer, static_cast<int32_t>(n));
    };
    const int32_t n = apply(nullptr, 0);
    if (n < 0) {
        fail(ErrorKind::format, "{}: its chat template is not one that libllama knows",
             impl_->path);
    }
    std::string text(static_cast<size_t>(n), '\0');
    apply(text.data(), text.size());
    return text;
}

void quantize(const std::string &gguf_in, const std::string &gguf_out, const std::string &type,
              bool pure, int n_threads) {
    const std::optional<int> number = file_type_number(type);
    if (!number) {
        fail(ErrorKind::usage, "unknown quantisation '{}' (known: {})", type, file_type_names());
    }
    {
        // libllama asserts what these check.
        const GgufFile file(gguf_in);
        Weights weights;
        list_weights(file, read_hparams(file), weights);
    }
    start_libllama();
    clear_ggml_error();
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = static_cast<llama_ftype>(*number);
    params.allow_requantize = true;
    params.pure = pure;
    params.nthread = n_threads;
    const std::string partial = fmt::format("{}.{}.partial", gguf_out, ::getpid());
    if (llama_model_quantize(gguf_in.c_str(), partial.c_str(), &params) != 0) {
        std::remove(partial.c_str());
        fail(ErrorKind::file, "cannot write {} as {} to {}: {}", gguf_in, type, gguf_out,
             ggml_error_or("no reason given"));
    }
    if (std::rename(partial.c_str(), gguf_out.c_str()) != 0) {
        std::remove(partial.c_str());
        fail(ErrorKind::file, "cannot write {}", gguf_out);
    }
}

}  // namespace orthorank
