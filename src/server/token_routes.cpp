#include "server/token_routes.h"

#include "server/api_error.h"
#include "server/fields.h"
#include "server/generation.h"

namespace orthorank {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

ordered_json token_or_null(const Vocab &vocab, int32_t token) {
    return token >= 0 ? ordered_json(token_text(vocab, token)) : ordered_json(nullptr);
}

std::vector<int32_t> tokens_of_text(Fields &fields, const ServedModel &served) {
    const std::optional<std::string> prompt = fields.text("prompt");
    const std::optional<std::string> content = fields.text("content");
    if (prompt.has_value() == content.has_value()) {
        refuse("prompt", "give one of prompt, content and messages");
    }
    // vLLM adds BOS unless it is told not to, llama.cpp the other way round.
    const bool add_bos =
        prompt ? fields.flag("add_special_tokens", true) : fields.flag("add_special", false);
    return served.vocab().tokenize(prompt ? *prompt : *content, add_bos,
                                   fields.flag("parse_special", true));
}

}  // namespace

ordered_json models_json(const ServedModel &served) {
    ordered_json list = ordered_json::array();
    const std::vector<std::string> names = served.plans.model_names();
    for (size_t i = 0; i < names.size(); ++i) {
        ordered_json entry = {{"id", names[i]},
                              {"object", "model"},
                              {"created", served.created},
                              {"owned_by", "orthorank"},
                              {"max_model_len", served.n_ctx}};
        ordered_json &about = entry["orthorank"];
        about["plan"] = i > 0 ? ordered_json(served.plans.plans()[i - 1].name) : nullptr;
        about["effective_sparsity"] =
            i > 0 ? served.plans.plans()[i - 1].every_row.effective_sparsity() : 0.0;
        about["file_type"] = served.model.type_in_use();
        about["fingerprint"] = served.model.fingerprint();
        list.push_back(std::move(entry));
    }
    return {{"object", "list"}, {"data", list}};
}

ordered_json tokenizer_info(const ServedModel &served) {
    const Vocab &vocab = served.vocab();
    return {{"tokenizer_class", "orthorank"},
            {"bos_token", token_or_null(vocab, vocab.bos())},
            {"eos_token", token_or_null(vocab, vocab.eos())},
            {"pad_token", nullptr},
            {"bos_token_id", vocab.bos() >= 0 ? ordered_json(vocab.bos()) : nullptr},
            {"eos_token_id", vocab.eos() >= 0 ? ordered_json(vocab.eos()) : nullptr},
            {"add_bos_token", vocab.adds_bos()},
            {"vocab_size", served.n_vocab()},
            {"model_max_length", served.n_ctx},
            {"chat_template", vocab.has_chat_template() ? ordered_json(vocab.chat_template())
                                                        : ordered_json(nullptr)}};
}

ordered_json tokenize(const json &body, const ServedModel &served) {
    Fields fields(body);
    fields.let_pass({"model"});
    const bool with_pieces = fields.flag("with_pieces", false);
    std::vector<int32_t> tokens;
    if (const json *messages = fields.find("messages")) {
        fields.only("add_generation_prompt", true);
        tokens = served.vocab().tokenize_chat(read_messages(*messages));
    } else {
        tokens = tokens_of_text(fields, served);
    }
    fields.finish();
    ordered_json answer = {{"count", tokens.size()}, {"max_model_len", served.n_ctx}};
    answer["tokens"] = tokens;
    if (with_pieces) {
        answer["tokens"] = ordered_json::array();
        for (const int32_t token : tokens) {
            answer["tokens"].push_back(
                {{"id", token}, {"piece", token_text(served.vocab(), token)}});
        }
    }
    return answer;
}

ordered_json detokenize(const json &body, const ServedModel &served) {
    Fields fields(body);
    fields.let_pass({"model"});
    const json *tokens = fields.find("tokens");
    fields.finish();
    if (tokens == nullptr || !tokens->is_array()) {
        refuse("tokens", "tokens has to be a list of token ids");
    }
    const std::vector<int32_t> ids = ids_of(*tokens, served.n_vocab(), "tokens");
    const std::string text = text_of(ids, served.vocab());
    return {{"prompt", text}, {"content", text}};
}

}  // namespace orthorank
