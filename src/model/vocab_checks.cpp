#include "model/vocab_checks.h"

#include <unordered_map>

#include "base/error.h"

namespace orthorank {

namespace {

void check_tokens(const GgufFile &file) {
    std::unordered_map<std::string, size_t> ids;
    const std::vector<std::string_view> tokens = file.texts("tokenizer.ggml.tokens");
    for (size_t i = 0; i < tokens.size(); i++) {
        // libllama gives empty tokens this name.
        const std::string token =
            tokens[i].empty() ? fmt::format("[EMPTY_{}]", i) : std::string(tokens[i]);
        const auto [first, is_new] = ids.emplace(token, i);
        if (!is_new) {
            fail(ErrorKind::format, "{}: tokens {} and {} are both \"{}\"", file.path(),
                 first->second, i, token);
        }
    }
}

}  // namespace

void check_vocabulary(const GgufFile &file) {
    const std::string model = file.text("tokenizer.ggml.model");
    if (model != "llama" && model != "gpt2" && model != "gemma4") {
        fail(ErrorKind::format,
             "{}: tokenizer '{}' is not supported (supported: llama, which is SentencePiece, and "
             "gpt2 and gemma4, which are BPE)",
             file.path(), model);
    }
    // libllama asserts that no word of a BPE vocabulary holds two blanks; this pre-tokenizer makes
    // such words.
    if (model == "gpt2" && file.find_text("tokenizer.ggml.pre").value_or("") == "whitespace") {
        fail(ErrorKind::format,
             "{}: pre-tokenizer 'whitespace' is not supported with tokenizer 'gpt2'", file.path());
    }
    check_tokens(file);
    const int64_t n_tokens = file.n_texts("tokenizer.ggml.tokens");
    for (const char *name : {"bos", "eos"}) {
        const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
        const std::string key_add = fmt::format("tokenizer.ggml.add_{}_token", name);
        const std::optional<int64_t> id = file.find_integer(key);
        // Some files say 0xffffffff for "none"; then nothing may ask for the token.
        const bool is_none = id && (*id == -1 || *id == 0xffffffff);
        if (id && !is_none && (*id < 0 || *id >= n_tokens)) {
            fail(ErrorKind::format, "{}: key {}: found {}, expected a token, 0 to {}", file.path(),
                 key, *id, n_tokens - 1);
        }
        if ((!id || is_none) && file.find_flag(key_add).value_or(false)) {
            fail(ErrorKind::format, "{}: {} is true but {} names no token", file.path(), key_add,
                 key);
        }
    }
}

}  // namespace orthorank
