#include "server/log_prob_json.h"

#include "server/served_model.h"

namespace orthorank {

namespace {

using nlohmann::ordered_json;

ordered_json top_by_text(const ListedToken &token, const Vocab &vocab) {
    ordered_json top = ordered_json::object();
    for (const TokenLogProb::Top &entry : token.log_prob->top) {
        const std::string text = token_text(vocab, entry.token);
        if (!top.contains(text)) {
            top[text] = entry.log_prob;
        }
    }
    const std::string text = token_text(vocab, token.id);
    if (!top.contains(text)) {
        top[text] = token.log_prob->log_prob;
    }
    return top;
}

ordered_json chat_token(int32_t id, float log_prob, const Vocab &vocab) {
    const std::string bytes = vocab.piece(id, /*special=*/true);
    ordered_json list = ordered_json::array();
    for (const char byte : bytes) {
        list.push_back(static_cast<unsigned char>(byte));
    }
    return {{"token", token_text(vocab, id)}, {"logprob", log_prob}, {"bytes", list}};
}

}  // namespace

ordered_json completion_log_probs(std::span<const ListedToken> tokens, const Vocab &vocab) {
    ordered_json columns = {{"tokens", ordered_json::array()},
                            {"token_logprobs", ordered_json::array()},
                            {"top_logprobs", ordered_json::array()},
                            {"text_offset", ordered_json::array()}};
    for (const ListedToken &token : tokens) {
        const bool has = token.log_prob != nullptr;
        columns["tokens"].push_back(token_text(vocab, token.id));
        columns["token_logprobs"].push_back(has ? ordered_json(token.log_prob->log_prob)
                                                : ordered_json(nullptr));
        columns["top_logprobs"].push_back(has ? top_by_text(token, vocab) : ordered_json(nullptr));
        columns["text_offset"].push_back(token.text_offset);
    }
    return columns;
}

ordered_json chat_log_probs(std::span<const ListedToken> tokens, const Vocab &vocab) {
    ordered_json content = ordered_json::array();
    for (const ListedToken &token : tokens) {
        ordered_json entry = chat_token(token.id, token.log_prob->log_prob, vocab);
        entry["top_logprobs"] = ordered_json::array();
        for (const TokenLogProb::Top &top : token.log_prob->top) {
            entry["top_logprobs"].push_back(chat_token(top.token, top.log_prob, vocab));
        }
        content.push_back(std::move(entry));
    }
    return {{"content", content}, {"refusal", nullptr}};
}

}  // namespace orthorank
