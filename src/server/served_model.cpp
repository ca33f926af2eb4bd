#include "server/served_model.h"

#include "base/utf8.h"
#include "server/api_error.h"

namespace orthorank {

void check_prompt_length(size_t n_prompt_tokens, int n_ctx, bool is_at_least) {
    if (n_prompt_tokens <= static_cast<size_t>(n_ctx)) {
        return;
    }
    throw ApiError(400, "context_length_exceeded",
                   fmt::format("the prompt has {}{} tokens, the context only {}: shorten it",
                               is_at_least ? "at least " : "", n_prompt_tokens, n_ctx),
                   "prompt")
        .with("n_prompt_tokens", n_prompt_tokens)
        .with("n_ctx", n_ctx);
}

std::vector<int32_t> prompt_ids(const ServedModel &served, const std::string &text, bool add_bos) {
    const Vocab &vocab = served.vocab();
    check_prompt_length(vocab.fewest_tokens(text.size()), served.n_ctx, /*is_at_least=*/true);
    std::vector<int32_t> ids = vocab.tokenize(text, add_bos, /*parse_special=*/true);
    if (ids.empty() && add_bos && vocab.bos() >= 0) {
        ids.push_back(vocab.bos());
    }
    return ids;
}

std::string token_text(const Vocab &vocab, int32_t token) {
    const std::string bytes = vocab.piece(token, /*special=*/true);
    if (find_invalid_utf8(bytes) == std::string_view::npos) {
        return bytes;
    }
    std::string text = "bytes:";
    for (const char byte : bytes) {
        text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    return text;
}

}  // namespace orthorank
