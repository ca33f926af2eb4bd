#include "server/answer.h"

#include <algorithm>
#include <random>

#include "base/utf8.h"
#include "report/trace_map.h"
#include "session/trace.h"

namespace orthorank {

namespace {

using nlohmann::ordered_json;

const char *finish_reason(StopReason reason) {
    return reason == StopReason::end || reason == StopReason::stop ? "stop" : "length";
}

std::string new_id(bool is_chat) {
    std::random_device random;
    return fmt::format("{}-{:08x}{:08x}{:08x}", is_chat ? "chatcmpl" : "cmpl", random(), random(),
                       random());
}

}  // namespace

Choice::Choice(const Generation &generation, const ServedModel &served, size_t index)
    : generation_(generation), served_(served), index_(index) {}

void Choice::add_token(int32_t id, const TokenLogProb &log_prob) {
    const size_t n_bytes = served_.vocab().piece(id).size();
    tokens_.push_back({id, log_prob, n_bytes_, n_bytes_ + n_bytes});
    n_bytes_ += n_bytes;
}

bool Choice::is_out(const Token &token) const {
    if (!is_finished_) {
        return token.end_byte <= text_.size();
    }
    return result_.stop_reason != StopReason::stop || token.first_byte < text_.size();
}

ListedToken Choice::listed(const Token &token) const {
    const size_t n_echoed = generation_.echo ? n_characters(generation_.prompt_of(index_).text) : 0;
    const std::string_view before = std::string_view(text_).substr(0, token.first_byte);
    return {token.id, &token.log_prob, n_echoed + n_characters(before)};
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
    const std::vector<int32_t> &ids = generation_.prompt_of(index_).ids;
    size_t offset = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
        echoed.push_back({ids[i], i > 0 ? &result_.target_log_probs[i - 1] : nullptr, offset});
        offset += n_characters(served_.vocab().piece(ids[i], /*special=*/true));
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
    const std::vector<int32_t> &ids = generation_.prompt_of(index_).ids;
    const TraceResult trace = trace_of(served_.vocab(), generation_.plan, ids, result_);
    choice["orthorank"] = {{"n_prompt", ids.size()}};
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
