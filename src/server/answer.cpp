#include "server/answer.h"

#include <algorithm>
#include <random>

#include "report/trace_map.h"
#include "session/trace.h"

namespace orthorank {

namespace {

using nlohmann::ordered_json;

// Bytes of a prompt without a token of their own, such as blanks beside a control token.
constexpr size_t k_max_passed_over = 256;

const char *finish_reason(StopReason reason) {
    return reason == StopReason::end || reason == StopReason::stop ? "stop" : "length";
}

std::string new_id(bool is_chat) {
    std::random_device random;
    return fmt::format("{}-{:08x}{:08x}{:08x}", is_chat ? "chatcmpl" : "cmpl", random(), random(),
                       random());
}

// For each byte of a text the number of its character, and how many there are behind them.
std::vector<size_t> character_numbers(std::string_view text) {
    CharacterNumbers characters;
    std::vector<size_t> numbers;
    numbers.reserve(text.size() + 1);
    for (const char byte : text) {
        numbers.push_back(characters.take(byte));
    }
    numbers.push_back(characters.n_begun());
    return numbers;
}

struct Place {
    size_t first = 0;
    size_t n_bytes = 0;
};

// Where a token stands in the text, from `at` on: what the tokenizer passed over is skipped, a
// blank that it put before a word is not there, and a token that is not found has no bytes.
Place place_of(std::string_view piece, std::string_view text, size_t at) {
    const std::string_view word = piece.starts_with(' ') ? piece.substr(1) : piece;
    const size_t end = std::min(text.size(), at + k_max_passed_over);
    for (size_t first = at; first <= end; ++first) {
        const std::string_view rest = text.substr(first);
        if (rest.starts_with(piece)) {
            return {first, piece.size()};
        }
        if (rest.starts_with(word)) {
            return {first, word.size()};
        }
    }
    return {at, 0};
}

// The first byte of each token of a prompt in its text.
std::vector<size_t> first_bytes(const GenerationPrompt &prompt, const Vocab &vocab) {
    const size_t n_added = prompt.has_added_bos ? 1 : 0;
    const std::span<const int32_t> ids = std::span(prompt.ids).subspan(n_added);
    std::vector<size_t> found(n_added, 0);
    size_t at = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
        const Place place = place_of(piece_of(ids, i, vocab), prompt.text, at);
        found.push_back(place.first);
        at = place.first + place.n_bytes;
    }
    return found;
}

}  // namespace

size_t CharacterNumbers::take(char byte) {
    n_complete_ += n_characters(buffer_.push({&byte, 1}));
    return buffer_.rest().empty() ? n_complete_ - 1 : n_complete_;
}

Choice::Choice(const Generation &generation, const ServedModel &served, size_t index)
    : generation_(generation),
      served_(served),
      index_(index),
      n_echoed_(generation.echo ? n_characters(generation.prompt_of(index).text) : 0) {}

void Choice::add_token(int32_t id, const TokenLogProb &log_prob) {
    const std::string bytes = served_.vocab().piece(id);
    size_t first = characters_.n_begun();
    for (size_t i = 0; i < bytes.size(); ++i) {
        const size_t number = characters_.take(bytes[i]);
        first = i == 0 ? number : first;
    }
    tokens_.push_back({id, log_prob, first, characters_.n_begun()});
}

bool Choice::is_out(const Token &token) const {
    if (!is_finished_) {
        return token.end_character <= n_out_;
    }
    return result_.stop_reason != StopReason::stop || token.first_character < n_out_;
}

ListedToken Choice::listed(const Token &token) const {
    // What ends the answer has no text, nor has a character that was not completed.
    return {token.id, &token.log_prob, n_echoed_ + std::min(token.first_character, n_out_)};
}

std::vector<ListedToken> Choice::next_tokens() {
    std::vector<ListedToken> next;
    while (n_shown_ < tokens_.size() && is_out(tokens_[n_shown_])) {
        next.push_back(listed(tokens_[n_shown_++]));
    }
    return next;
}

std::vector<ListedToken> Choice::echoed_tokens() const {
    std::vector<ListedToken> echoed;
    const GenerationPrompt &prompt = generation_.prompt_of(index_);
    const std::vector<size_t> firsts = first_bytes(prompt, served_.vocab());
    const std::vector<size_t> numbers = character_numbers(prompt.text);
    for (size_t i = 0; i < prompt.ids.size(); ++i) {
        echoed.push_back({prompt.ids[i], i > 0 ? &result_.target_log_probs[i - 1] : nullptr,
                          numbers[firsts[i]]});
    }
    return echoed;
}

std::vector<ListedToken> Choice::all_tokens() const {
    std::vector<ListedToken> all;
    if (generation_.echo) {
        all = echoed_tokens();
    }
    for (const Token &token : tokens_) {
        if (is_out(token)) {
            all.push_back(listed(token));
        }
    }
    return all;
}

ordered_json Choice::log_probs(std::span<const ListedToken> tokens) const {
    return generation_.is_chat ? chat_log_probs(tokens, served_.vocab())
                               : completion_log_probs(tokens, served_.vocab());
}

void Choice::finish_json(ordered_json &choice) const {
    choice["finish_reason"] = finish_reason(result_.stop_reason);
    if (!generation_.wants_trace && !generation_.wants_map) {
        return;
    }
    const GenerationPrompt &prompt = generation_.prompt_of(index_);
    TraceResult trace = trace_of(served_.vocab(), generation_.plan, prompt.ids, result_);
    trace.n_prompt = prompt.n_prefill;
    choice["orthorank"] = {{"n_prompt", trace.n_prompt}};
    if (generation_.wants_trace) {
        choice["orthorank"].update(trace_json(trace));
    }
    if (generation_.wants_map) {
        choice["orthorank"]["map"] = {{"legend", trace_map_legend(trace, k_max_map_tokens)},
                                      {"drawings", trace_maps(trace, k_max_map_tokens)}};
    }
}

ordered_json Choice::piece(const std::string &text, std::span<const ListedToken> tokens) {
    ordered_json choice = {{"index", index_}};
    if (generation_.is_chat) {
        choice["delta"] = ordered_json::object();
        if (is_first_) {
            choice["delta"]["role"] = "assistant";
        }
        if (is_first_ || !text.empty()) {
            choice["delta"]["content"] = text;
        }
    } else {
        choice["text"] = text;
    }
    is_first_ = false;
    choice["logprobs"] = tokens.empty() ? ordered_json(nullptr) : log_probs(tokens);
    choice["finish_reason"] = nullptr;
    if (is_finished_) {
        finish_json(choice);
    }
    return choice;
}

ordered_json Choice::take(const Event &event) {
    if (event.kind == Event::Kind::read) {  // told where a stream begins with its prompt
        result_ = event.result;
        return piece(generation_.prompt_of(index_).text,
                     generation_.wants_log_probs ? echoed_tokens() : std::vector<ListedToken>());
    }
    text_ += event.text;
    n_out_ += n_characters(event.text);
    if (event.kind == Event::Kind::finished) {
        is_finished_ = true;
        result_ = event.result;
        if (generation_.wants_log_probs && !generation_.is_chat && result_.end_token >= 0) {
            add_token(result_.end_token, result_.end_log_prob);
        }
    } else if (event.log_prob) {
        add_token(event.token, *event.log_prob);
    }
    if (!generation_.stream) {
        return nullptr;
    }
    const std::vector<ListedToken> tokens = next_tokens();
    if (event.text.empty() && tokens.empty() && !is_finished_) {
        return nullptr;
    }
    return piece(event.text, tokens);
}

ordered_json Choice::json() const {
    ordered_json choice = {{"index", index_}};
    if (generation_.is_chat) {
        choice["message"] = {{"role", "assistant"}, {"content", text_}};
    } else {
        choice["text"] = (generation_.echo ? generation_.prompt_of(index_).text : "") + text_;
    }
    choice["logprobs"] = generation_.wants_log_probs ? log_probs(all_tokens()) : nullptr;
    finish_json(choice);
    return choice;
}

Answer::Answer(const Generation &generation, const ServedModel &served)
    : generation_(generation), id_(new_id(generation.is_chat)), created_(std::time(nullptr)) {
    for (size_t i = 0; i < generation.requests.size(); ++i) {
        choices_.emplace_back(generation, served, i);
    }
}

ordered_json Answer::frame(bool is_stream) const {
    const char *object = !generation_.is_chat ? "text_completion"
                         : is_stream          ? "chat.completion.chunk"
                                              : "chat.completion";
    return {{"id", id_}, {"object", object}, {"created", created_}, {"model", generation_.model}};
}

ordered_json Answer::take(size_t index, const Event &event) {
    const ordered_json choice = choices_[index].take(event);
    if (choice.is_null()) {
        return nullptr;
    }
    ordered_json json = frame(/*is_stream=*/true);
    json["choices"] = ordered_json::array({choice});
    if (is_finished()) {
        json["usage"] = usage();
        json["orthorank"] = orthorank();
    }
    return json;
}

bool Answer::is_finished() const {
    return std::all_of(choices_.begin(), choices_.end(),
                       [](const Choice &choice) { return choice.is_finished(); });
}

ordered_json Answer::json() const {
    ordered_json json = frame(/*is_stream=*/false);
    json["choices"] = ordered_json::array();
    for (const Choice &choice : choices_) {
        json["choices"].push_back(choice.json());
    }
    json["usage"] = usage();
    json["orthorank"] = orthorank();
    return json;
}

ordered_json Answer::usage() const {
    size_t n_prompt = 0;
    size_t n_new = 0;
    for (const GenerationPrompt &prompt : generation_.prompts) {
        n_prompt += prompt.ids.size();
    }
    for (const Choice &choice : choices_) {
        n_new += choice.result().tokens.size();
    }
    return {{"prompt_tokens", n_prompt},
            {"completion_tokens", n_new},
            {"total_tokens", n_prompt + n_new}};
}

ordered_json Answer::orthorank() const {
    int64_t n_offered = 0;
    int64_t n_computed = 0;
    int64_t n_decoded = 0;
    double prefill_s = 0;
    double decode_s = 0;
    for (const Choice &choice : choices_) {
        const RequestResult &result = choice.result();
        n_offered += result.n_rows_offered;
        n_computed += result.n_rows_computed;
        n_decoded += result.n_decoded;
        prefill_s = std::max(prefill_s, result.prefill_s);
        decode_s = std::max(decode_s, result.decode_s);
    }
    const Plan &plan = generation_.plan;
    ordered_json json;
    json["plan"] = plan.is_dense() ? ordered_json(nullptr) : ordered_json(plan.name);
    json["apply"] = plan.is_dense() ? ordered_json(nullptr) : ordered_json(apply_name(plan.apply));
    json["effective_sparsity"] = plan.effective_sparsity();
    json["fraction_of_rows_computed"] =
        n_offered > 0
            ? ordered_json(static_cast<double>(n_computed) / static_cast<double>(n_offered))
            : ordered_json(nullptr);
    json["n_decoded"] = n_decoded;
    json["prefill_seconds"] = prefill_s;
    json["decode_seconds"] = decode_s;
    return json;
}

ordered_json Answer::usage_event() const {
    ordered_json json = frame(/*is_stream=*/true);
    json["choices"] = ordered_json::array();
    json["usage"] = usage();
    return json;
}

}  // namespace orthorank
