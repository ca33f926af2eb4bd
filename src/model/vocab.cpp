#include "model/vocab.h"

#include <llama.h>

#include <algorithm>
#include <climits>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/output_file.h"
#include "model/architecture.h"
#include "model/chat_controls.h"
#include "model/file_type.h"
#include "model/ggml_log.h"
#include "model/gguf_file.h"
#include "model/gguf_output.h"
#include "model/hparams.h"
#include "model/long_runs.h"
#include "model/special_names.h"
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
int32_t length_of(std::string_view text) {
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
    std::vector<std::string> warnings;
    std::vector<ControlToken> controls;
    SpecialNames special_names;      // of the controls and of user-defined tokens
    size_t longest_token = 1;        // bytes of its name
    bool needs_bos = false;          // Architecture::needs_bos
    bool is_split_by_words = false;  // BPE: the text goes through a pre-tokenizer
    bool has_blank_matches = false;  // one whose matches may hold blanks

    void read_tokens() {
        std::vector<SpecialName> names;
        for (int32_t id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
            const llama_token_attr kind = llama_vocab_get_attr(vocab, id);
            const std::string name = llama_vocab_get_text(vocab, id);
            longest_token = std::max(longest_token, name.size());
            const bool is_control =
                (kind & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0;
            const bool is_special = is_control || (kind & LLAMA_TOKEN_ATTR_USER_DEFINED) != 0;
            const bool strips_left = (kind & LLAMA_TOKEN_ATTR_LSTRIP) != 0;
            const bool strips_right = (kind & LLAMA_TOKEN_ATTR_RSTRIP) != 0;
            if (is_control && !name.empty()) {
                controls.push_back({id, name, strips_left, strips_right});
            }
            if (is_special && !name.empty()) {
                names.push_back({name, is_control, strips_left, strips_right});
            }
        }
        special_names.set(std::move(names));
    }

    // Appends the tokens of a text that has few special names (SpecialNames). In SentencePiece's
    // vocabularies what follows a name begins with a space, as a text does: so may a block.
    void append_block(std::string_view block, bool parse_special,
                      std::vector<int32_t> &tokens) const {
        std::vector<int32_t> found(block.size() + 2);
        const int32_t length = length_of(block);
        fill(found, [&](int32_t *data, int32_t n) {
            return llama_tokenize(vocab, block.data(), length, data, n, /*add_special=*/false,
                                  parse_special);
        });
        tokens.insert(tokens.end(), found.begin(), found.end());
    }

    // Appends the tokens of a text, on a stack that holds what libllama's splitter needs.
    void append(std::string_view text, bool parse_special, std::vector<int32_t> &tokens) const {
        std::vector<int32_t> found;
        const auto tokenize_all = [&](std::string_view all) {
            found.clear();
            found.reserve(static_cast<size_t>(length_of(all)) + 2);
            for (const std::string_view block : special_names.blocks(all, parse_special)) {
                append_block(block, parse_special, found);
            }
        };
        if (is_split_by_words) {
            tokenize_with_stack(text, has_blank_matches, tokenize_all);
        } else {
            tokenize_all(text);
        }
        tokens.insert(tokens.end(), found.begin(), found.end());
    }

    std::string name_of(int32_t token) const {
        return token >= 0 ? llama_vocab_get_text(vocab, token) : "";
    }

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
    const GgufFile file(gguf_path);
    check_vocabulary(file);
    start_libllama();
    clear_ggml_log();
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
    const Architecture *architecture =
        find_architecture(file.find_text("general.architecture").value_or(""));
    v.needs_bos = architecture != nullptr && architecture->needs_bos;
    if (vocab->adds_bos() && vocab->bos() < 0) {
        fail(ErrorKind::format, "{}: texts should begin with a BOS token but there is none",
             gguf_path);
    }
    const char *chat_template = llama_model_chat_template(v.model.get(), nullptr);
    v.chat_template = chat_template != nullptr ? chat_template : "";
    v.warnings = ggml_warnings();
    v.is_split_by_words = llama_vocab_type(v.vocab) == LLAMA_VOCAB_TYPE_BPE;
    // The one pre-tokenizer of libllama 0.5 with words of several letters and single blanks.
    v.has_blank_matches = file.find_text("tokenizer.ggml.pre").value_or("") == "exaone-moe";
    v.read_tokens();
    return vocab;
}

const std::vector<std::string> &Vocab::warnings() const {
    return impl_->warnings;
}

int Vocab::n_tokens() const {
    return llama_vocab_n_tokens(impl_->vocab);
}

std::vector<int32_t> Vocab::tokenize(const std::string &text, bool add_bos,
                                     bool parse_special) const {
    std::vector<int32_t> tokens;
    if (add_bos && adds_bos()) {
        tokens.push_back(bos());
    }
    impl_->append(text, parse_special, tokens);
    return tokens;
}

std::vector<int32_t> Vocab::tokenize_first(size_t n, const std::string &text, bool add_bos) const {
    // Twice what n tokens can have: the cut changes only what stands beside it.
    const size_t n_bytes =
        n < SIZE_MAX / 4 / impl_->longest_token ? 2 * n * impl_->longest_token : text.size();
    std::vector<int32_t> tokens = tokenize(text.substr(0, n_bytes), add_bos);
    tokens.resize(std::min(tokens.size(), n));
    return tokens;
}

size_t Vocab::fewest_tokens(size_t n_bytes) const {
    for (const ControlToken &control : impl_->controls) {
        if (control.strips_left || control.strips_right) {
            return 0;  // it swallows any number of blanks
        }
    }
    return n_bytes / impl_->longest_token;
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
    return impl_->needs_bos || llama_vocab_get_add_bos(impl_->vocab);
}

std::optional<int32_t> Vocab::window_start() const {
    return impl_->needs_bos ? std::optional<int32_t>(bos()) : std::nullopt;
}

bool Vocab::has_chat_template() const {
    return !impl_->chat_template.empty();
}

const std::string &Vocab::chat_template() const {
    return impl_->chat_template;
}

std::vector<int32_t> Vocab::tokenize_chat(std::span<const ChatMessage> messages) const {
    if (!has_chat_template()) {
        fail(ErrorKind::format, "{} has no chat template", impl_->path);
    }
    const std::string guard = guard_for(messages, impl_->chat_template);
    std::vector<ChatMessage> guarded_messages;
    for (const ChatMessage &message : messages) {
        guarded_messages.push_back({guarded(message.role, impl_->controls, guard),
                                    guarded(message.content, impl_->controls, guard)});
    }
    const std::string text = at_place(impl_->path, [&] {
        return render_chat(impl_->chat_template, guarded_messages,
                           {impl_->name_of(bos()), impl_->name_of(eos())});
    });
    std::vector<int32_t> tokens;
    for (const ChatPiece &piece : chat_pieces(text, impl_->controls, guard)) {
        if (piece.token >= 0) {
            tokens.push_back(piece.token);
        } else {
            impl_->append(piece.text, /*parse_special=*/false, tokens);
        }
    }
    if (adds_bos() && (tokens.empty() || tokens.front() != bos())) {
        tokens.insert(tokens.begin(), bos());
    }
    return tokens;
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
    clear_ggml_log();
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = static_cast<llama_ftype>(*number);
    params.allow_requantize = true;
    params.pure = pure;
    params.nthread = n_threads;
    refuse_gguf_output(gguf_out);
    OutputFile output(gguf_out);
    if (llama_model_quantize(gguf_in.c_str(), output.temporary_name().c_str(), &params) != 0) {
        fail(ErrorKind::file, "cannot write {} as {} to {}: {}", gguf_in, type, gguf_out,
             ggml_error_or("no reason given"));
    }
    output.finish();
}

}  // namespace orthorank
