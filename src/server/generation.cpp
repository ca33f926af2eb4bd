#include "server/generation.h"

#include <random>

#include "select/sparsity.h"
#include "server/api_error.h"
#include "server/fields.h"

namespace orthorank {

namespace {

using nlohmann::json;

constexpr double k_max_number = 1e6;
constexpr int64_t k_max_tokens = int64_t{1} << 30;
constexpr int64_t k_default_max_tokens = 16;  // of a completion, as OpenAI has it

struct OrthorankFields {
    PlanWish wish;
    bool wants_trace = false;
    bool wants_map = false;
    int64_t n_prompt = -1;
};

std::optional<double> read_sparsity(Fields &fields) {
    const json *value = fields.find("sparsity");
    if (value == nullptr) {
        return {};
    }
    try {
        return sparsity_from_text(value->is_string() ? value->get<std::string>() : value->dump());
    } catch (const Error &error) {
        refuse("orthorank.sparsity", "orthorank.{}", error.what());
    }
}

OrthorankFields read_orthorank(Fields &body) {
    OrthorankFields found;
    const json *object = body.find("orthorank");
    if (object == nullptr) {
        return found;
    }
    Fields fields(*object, "orthorank.");
    found.wish.plan = fields.text("plan").value_or("");
    found.wish.sparsity = read_sparsity(fields);
    if (const std::optional<std::string> apply = fields.text("apply")) {
        try {
            found.wish.apply = apply_from_name(*apply);
        } catch (const Error &error) {
            refuse("orthorank.apply", "orthorank.apply: {}", error.what());
        }
    }
    found.wants_trace = fields.flag("trace", false);
    found.wants_map = fields.flag("map", false);
    found.n_prompt = fields.integer("n_prompt", -1, 1, k_max_tokens);
    fields.finish();
    return found;
}

SamplerOptions read_sampler(Fields &fields) {
    SamplerOptions sampler;
    sampler.temperature = fields.number("temperature", 1, 0, k_max_number);
    sampler.top_p = fields.number("top_p", 1, 0, 1);
    sampler.top_k = static_cast<int>(fields.integer("top_k", 0, -1, INT32_MAX));
    sampler.top_k = std::max(sampler.top_k, 0);  // -1 is vLLM's word for all
    sampler.min_p = fields.number("min_p", 0, 0, 1);
    sampler.presence_penalty = fields.number("presence_penalty", 0, -2, 2);
    sampler.frequency_penalty = fields.number("frequency_penalty", 0, -2, 2);
    sampler.repeat_penalty = fields.number(
        "repetition_penalty", fields.number("repeat_penalty", 1, 0, k_max_number), 0, k_max_number);
    const int64_t seed = fields.integer("seed", -1, -1, int64_t{k_seed_end} - 1);
    sampler.seed = seed >= 0 ? static_cast<uint32_t>(seed) : std::random_device()() % k_seed_end;
    try {
        (void)Sampler(sampler);
    } catch (const Error &error) {
        refuse("", "{}", error.what());
    }
    return sampler;
}

// What completions and chats have in common; `request` is what all of their requests are made from.
void read_common(Fields &fields, Generation &generation, Request &request) {
    generation.n = static_cast<int>(fields.integer("n", 1, 1, k_max_choices));
    generation.stream = fields.flag("stream", false);
    if (const json *options = fields.find("stream_options")) {
        Fields of_stream(*options, "stream_options.");
        generation.stream_usage = of_stream.flag("include_usage", false);
        of_stream.let_pass({"include_obfuscation"});
        of_stream.finish();
    }
    request.sampler = read_sampler(fields);
    request.stop = fields.texts("stop", k_max_stop_strings);
    for (const std::string &stop : request.stop) {
        if (stop.size() > k_max_stop_bytes) {
            refuse("stop", "stop: a string of {} bytes, at most {} are taken", stop.size(),
                   k_max_stop_bytes);
        }
    }
    fields.let_pass({"user", "metadata", "store", "service_tier", "safety_identifier",
                     "prompt_cache_key", "cache_prompt"});
    fields.only("logit_bias", json::object());
    fields.only("grammar", "");
    fields.only("json_schema", json::object());
    fields.only("response_format", {{"type", "text"}});
}

// The rows that are read before anything is generated: one prefill, or with a border in it.
void set_border(Request &request, const Generation &generation, int64_t n_prompt) {
    const auto n = static_cast<int64_t>(request.tokens.size());
    if (n_prompt > n) {
        refuse("orthorank.n_prompt", "orthorank.n_prompt is {}, the prompt has {} tokens", n_prompt,
               n);
    }
    request.n_prompt = n_prompt;
    if (generation.echo && generation.wants_log_probs) {
        // The scores of a text: all rows but the last predict a token of it, and are selected among
        // themselves as those of `eval` are.
        request.targets.assign(request.tokens.begin() + 1, request.tokens.end());
        request.targets.push_back(-1);
        if (n_prompt < 0) {
            request.n_prompt = n - 1;
        }
    }
}

void make_requests(Generation &generation, const Request &common, int64_t n_prompt) {
    if (generation.prompts.size() * static_cast<size_t>(generation.n) >
        static_cast<size_t>(k_max_choices)) {
        refuse("n", "{} prompts with {} answers each, at most {} answers in one request are given",
               generation.prompts.size(), generation.n, k_max_choices);
    }
    for (GenerationPrompt &prompt : generation.prompts) {
        for (int i = 0; i < generation.n; ++i) {
            Request request = common;
            request.plan = generation.plan;
            request.tokens = prompt.ids;
            request.sampler.seed = (common.sampler.seed + static_cast<uint32_t>(i)) % k_seed_end;
            request.wants_log_probs = generation.wants_log_probs;
            request.n_top = generation.n_top;
            request.wants_records = generation.wants_trace || generation.wants_map;
            request.tells_read = generation.stream && generation.echo;
            set_border(request, generation, n_prompt);
            prompt.n_prefill =
                request.n_prompt < 0 ? prompt.ids.size() : static_cast<size_t>(request.n_prompt);
            generation.requests.push_back(std::move(request));
        }
    }
}

// Does the vocabulary put a blank before a text, as SentencePiece's do?
bool puts_blank(const Vocab &vocab) {
    const std::vector<int32_t> ids = vocab.tokenize("a", /*add_bos=*/false);
    return !ids.empty() && vocab.piece(ids.front()).starts_with(' ');
}

GenerationPrompt prompt_of_ids(const json &list, const ServedModel &served) {
    GenerationPrompt prompt;
    prompt.ids = ids_of(list, served.n_vocab(), "prompt");
    check_prompt_length(prompt.ids.size(), served.n_ctx);
    prompt.text = text_of(prompt.ids, served.vocab());
    return prompt;
}

GenerationPrompt read_prompt(const json &value, const ServedModel &served) {
    GenerationPrompt prompt;
    if (value.is_array()) {
        prompt = prompt_of_ids(value, served);
    } else if (value.is_string()) {
        prompt.text = value.get<std::string>();
        prompt.ids = prompt_ids(served, prompt.text, /*add_bos=*/true);
        prompt.has_added_bos = served.vocab().adds_bos();
        check_prompt_length(prompt.ids.size(), served.n_ctx);
    } else {
        refuse("prompt", "prompt is {}, expected a string, token ids, or a list of either",
               value.type_name());
    }
    if (prompt.ids.empty()) {
        refuse("prompt", "a prompt is empty");
    }
    return prompt;
}

std::vector<GenerationPrompt> read_prompts(Fields &fields, const ServedModel &served) {
    const json *value = fields.find("prompt");
    if (value == nullptr) {
        refuse("prompt", "prompt is missing");
    }
    const bool is_list = value->is_array() && !value->empty() && !value->front().is_number();
    std::vector<GenerationPrompt> prompts;
    if (is_list) {
        if (value->size() > static_cast<size_t>(k_max_choices)) {
            refuse("prompt", "{} prompts, at most {} are taken in one request", value->size(),
                   k_max_choices);
        }
        for (const json &entry : *value) {
            prompts.push_back(read_prompt(entry, served));
        }
    } else {
        prompts.push_back(read_prompt(*value, served));
    }
    return prompts;
}

// Of a message: a string, or parts of type text put together.
std::string read_content(Fields &message) {
    const json *content = message.find("content");
    if (content == nullptr) {
        return "";
    }
    if (content->is_string()) {
        return content->get<std::string>();
    }
    if (!content->is_array()) {
        refuse("messages", "content is {}, expected a string or a list of parts of type text",
               content->type_name());
    }
    std::string text;
    for (const json &entry : *content) {
        Fields part(entry, "messages.content.");
        part.only("type", "text");
        text += part.text("text").value_or("");
        part.finish();
    }
    return text;
}

}  // namespace

std::string piece_of(std::span<const int32_t> ids, size_t i, const Vocab &vocab) {
    std::string piece = vocab.piece(ids[i], /*special=*/true);
    if (i == 0 && piece.starts_with(' ') && puts_blank(vocab)) {
        piece.erase(0, 1);
    }
    return piece;
}

std::string text_of(std::span<const int32_t> ids, const Vocab &vocab) {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
        text += piece_of(ids, i, vocab);
    }
    return text;
}

std::vector<ChatMessage> read_messages(const json &messages) {
    if (!messages.is_array() || messages.empty()) {
        refuse("messages", "messages has to be a list of messages, not empty");
    }
    std::vector<ChatMessage> found;
    for (const json &entry : messages) {
        Fields message(entry, "messages.");
        const std::optional<std::string> role = message.text("role");
        if (!role) {
            refuse("messages", "a message has no role");
        }
        found.push_back({*role, read_content(message)});
        message.let_pass({"name", "refusal"});
        message.only("tool_calls", json::array());
        message.finish();
    }
    return found;
}

Generation read_completion(const json &body, const ServedModel &served) {
    Fields fields(body);
    Generation generation;
    Request request;
    generation.model = fields.text("model").value_or(served.plans.name());
    read_common(fields, generation, request);
    request.max_new_tokens = fields.integer("max_tokens", k_default_max_tokens, 0, k_max_tokens);
    generation.echo = fields.flag("echo", false);
    const int64_t n_top = fields.integer("logprobs", -1, 0, k_max_top);
    generation.wants_log_probs = n_top >= 0;
    generation.n_top = static_cast<int>(std::max<int64_t>(n_top, 0));
    fields.only("suffix", "");
    fields.only("best_of", generation.n);
    OrthorankFields more = read_orthorank(fields);
    fields.let_pass({"prompt"});
    fields.finish();
    more.wish.model = generation.model;
    more.wish.scores_all_rows = generation.echo && generation.wants_log_probs && more.n_prompt < 0;
    generation.wants_trace = more.wants_trace;
    generation.wants_map = more.wants_map;
    generation.plan = served.plans.choose(more.wish);
    generation.prompts = read_prompts(fields, served);
    make_requests(generation, request, more.n_prompt);
    return generation;
}

Generation read_chat(const json &body, const ServedModel &served) {
    Fields fields(body);
    Generation generation;
    Request request;
    generation.is_chat = true;
    generation.model = fields.text("model").value_or(served.plans.name());
    read_common(fields, generation, request);
    const int64_t max_tokens = fields.integer("max_tokens", -1, 0, k_max_tokens);
    request.max_new_tokens = fields.integer("max_completion_tokens", max_tokens, 0, k_max_tokens);
    generation.wants_log_probs = fields.flag("logprobs", false);
    generation.n_top = static_cast<int>(fields.integer("top_logprobs", 0, 0, k_max_top));
    if (generation.n_top > 0 && !generation.wants_log_probs) {
        refuse("top_logprobs", "top_logprobs does nothing without logprobs: true");
    }
    fields.only("tools", json::array());
    fields.only("functions", json::array());
    fields.only("tool_choice", "none");
    fields.let_pass({"parallel_tool_calls", "reasoning_effort"});
    OrthorankFields more = read_orthorank(fields);
    const json *messages = fields.find("messages");
    fields.finish();
    if (messages == nullptr) {
        refuse("messages", "messages is missing");
    }
    more.wish.model = generation.model;
    generation.wants_trace = more.wants_trace;
    generation.wants_map = more.wants_map;
    generation.plan = served.plans.choose(more.wish);
    const std::vector<ChatMessage> read = read_messages(*messages);
    size_t n_bytes = 0;
    for (const ChatMessage &message : read) {
        n_bytes += message.content.size();
    }
    check_prompt_length(served.vocab().fewest_tokens(n_bytes), served.n_ctx, /*is_at_least=*/true);
    GenerationPrompt prompt;
    try {
        prompt.ids = served.vocab().tokenize_chat(read);
    } catch (const Error &error) {
        refuse("messages", "{}", error.what());
    }
    check_prompt_length(prompt.ids.size(), served.n_ctx);
    generation.prompts.push_back(std::move(prompt));
    make_requests(generation, request, more.n_prompt);
    return generation;
}

}  // namespace orthorank
