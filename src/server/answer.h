// Results of a session as clients read them: OpenAI's shapes, whole or in pieces of a stream.
// Internal to server/; values of one thread, which borrow the request and the model.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "server/generation.h"
#include "server/log_prob_json.h"
#include "session/request.h"

namespace orthorank {

// Numbers the characters of bytes that come one after the other; what is not UTF-8 counts as
// U+FFFD, as in base/utf8.h.
class CharacterNumbers {
 public:
    // The number of the character that the byte is part of, from 0.
    size_t take(char byte);
    // Characters that have begun.
    size_t n_begun() const { return n_complete_ + (buffer_.rest().empty() ? 0 : 1); }

 private:
    Utf8Buffer buffer_;
    size_t n_complete_ = 0;
};

// One answer as its tokens come.
class Choice {
 public:
    Choice(const Generation &generation, const ServedModel &served, size_t index);

    // Takes what came and returns the piece of a stream that it makes; null: none yet.
    nlohmann::ordered_json take(const Event &event);
    // As a whole, when it is finished.
    nlohmann::ordered_json json() const;
    bool is_finished() const { return is_finished_; }
    const RequestResult &result() const { return result_; }

 private:
    struct Token {
        int32_t id = 0;
        TokenLogProb log_prob;
        size_t first_character = 0;  // of the answer, which its first byte is part of
        size_t end_character = 0;    // those that have begun with its last byte
    };
    // A piece of a stream; tokens: whose text is out with it, or before it.
    nlohmann::ordered_json piece(const std::string &text, std::span<const ListedToken> tokens);
    nlohmann::ordered_json log_probs(std::span<const ListedToken> tokens) const;
    void add_token(int32_t id, const TokenLogProb &log_prob);
    // Is the token's text out, or will it be in no text?
    bool is_out(const Token &token) const;
    // Tokens that are out, from n_shown_ on.
    std::vector<ListedToken> next_tokens();
    // Those of the prompt, which the result has log-probabilities of.
    std::vector<ListedToken> echoed_tokens() const;
    std::vector<ListedToken> all_tokens() const;
    ListedToken listed(const Token &token) const;
    void finish_json(nlohmann::ordered_json &choice) const;

    const Generation &generation_;
    const ServedModel &served_;
    size_t index_;
    std::vector<Token> tokens_;
    size_t n_shown_ = 0;           // of tokens_
    CharacterNumbers characters_;  // of all tokens
    std::string text_;             // what is out
    size_t n_out_ = 0;             // its characters
    size_t n_echoed_ = 0;          // characters before it
    bool is_first_ = true;
    bool is_finished_ = false;
    RequestResult result_;
};

// All answers of one request.
class Answer {
 public:
    Answer(const Generation &generation, const ServedModel &served);

    // The event of a stream that this makes; null: none. The last one of all has usage() and
    // orthorank().
    nlohmann::ordered_json take(size_t index, const Event &event);
    bool is_finished() const;
    nlohmann::ordered_json json() const;
    nlohmann::ordered_json usage() const;
    nlohmann::ordered_json orthorank() const;
    // Without choices, with usage: the last event where stream_options.include_usage is given.
    nlohmann::ordered_json usage_event() const;

 private:
    nlohmann::ordered_json frame(bool is_stream) const;

    const Generation &generation_;
    std::string id_;
    std::time_t created_;
    std::vector<Choice> choices_;
};

}  // namespace orthorank
