// What a session is asked for and what it tells: plain data. A request is one timeline: tokens that
// are read under a plan, then, if wanted, tokens that follow.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/sampler.h"

namespace orthorank {

using RequestId = int64_t;

struct Request {
    Plan plan;
    std::vector<int32_t> tokens;  // what is read first; not empty
    // The first n_prompt of them are one prefill under the plan; those behind it are read in one
    // pass as decoded ones are: in every layer where the plan applies to the prefill. -1: all are
    // prompt.
    int64_t n_prompt = -1;

    // Goes on where this finished request ended, which must have kept its sequence (keeps). The
    // plan is that one's. 0: a timeline of its own.
    RequestId after = 0;
    int64_t n_keep = -1;  // positions of it that are kept; -1: all
    // The sequence stays when the request is finished, for requests after it and for
    // Session::sequence(), until release().
    bool keeps = false;

    // Tokens that follow: at most so many; -1: until the context is full.
    int64_t max_new_tokens = 0;
    SamplerOptions sampler;
    // Taken one after the other instead of sampling; max_new_tokens and what ends an answer do not
    // count then.
    std::vector<int32_t> forced;
    // The answer ends before one of these strings would appear in its text (UTF-8, not empty), and
    // before one of these tokens or an end-of-generation token; the tokens that end it cannot be
    // chosen before min_new_tokens are there.
    std::vector<std::string> stop;
    std::vector<int32_t> stop_tokens;
    int64_t min_new_tokens = 0;

    // What is wanted beside the tokens.
    bool wants_text = true;
    // An event of its own when `tokens` are read (Event::Kind::read).
    bool tells_read = false;
    // What the last rows of `tokens` are to predict: log p(targets[i]) under row
    // tokens.size() - targets.size() + i. A negative one has no value.
    std::vector<int32_t> targets;
    // Log-probabilities of new tokens too.
    bool wants_log_probs = false;
    // So many of the likeliest tokens beside each log-probability.
    int n_top = 0;
    // The logits of the rows that have targets, as they are computed; `chunk` is 0, rows count from
    // the first of `tokens`. A pass that fails and is run again shows them again.
    std::function<void(const LogitsBlock &)> on_logits;
    // Hidden states of the rows of `tokens` at these layer boundaries (engine/engine.h: Tap).
    std::vector<int> boundaries;
    // Scores and chosen rows of the selecting layers.
    bool wants_records = false;
};

// Natural logarithms. A token that is asked for and is among the likeliest has the same value in
// both places, to the bit.
struct TokenLogProb {
    float log_prob = 0;
    struct Top {
        int32_t token;
        float log_prob;
    };
    std::vector<Top> top;  // the likeliest first; equal ones by id
};

enum class StopReason {
    end,      // an end-of-generation or stop token, which is not part of the result
    stop,     // a stop string, which is not part of the text
    length,   // max_new_tokens, or all of the forced ones
    context,  // no room for another token
};

const char *stop_reason_name(StopReason reason);

struct RequestResult {
    StopReason stop_reason = StopReason::length;
    std::vector<int32_t> tokens;                 // new ones
    std::string text;                            // theirs; whole UTF-8 characters only
    std::vector<TokenLogProb> target_log_probs;  // one for each of Request::targets
    std::vector<TokenLogProb> log_probs;         // of the new tokens
    // The token that ended the answer (StopReason::end), with its log-probability where those of
    // new tokens are wanted; -1: none did.
    int32_t end_token = -1;
    TokenLogProb end_log_prob;
    std::map<int, std::vector<float>> hidden;  // by boundary: [n_embd, tokens]
    std::vector<LayerRecord> records;          // by layer; of the whole sequence
    int64_t n_decoded = 0;                     // new tokens that were run through the network
    int64_t n_rows_offered = 0;                // to selecting layers, and how many they computed
    int64_t n_rows_computed = 0;
    // Wall-clock seconds from the request's first graph to the prompt's last one, and from there to
    // its end, whatever ran beside it.
    double prefill_s = 0;
    double decode_s = 0;
};

struct Event {
    enum class Kind {
        read,      // Request::tokens are; result has their target_log_probs
        token,     // a new token
        finished,  // the result is there; nothing follows
        failed,    // error and message instead; nothing follows
    };
    RequestId request = 0;
    Kind kind = Kind::token;
    int32_t token = -1;
    // What is sure to be part of the text and was not shown yet: whole characters, which may belong
    // to earlier tokens; may be empty. With Kind::finished what was held back until then.
    std::string text;
    std::optional<TokenLogProb> log_prob;  // of the token, if wanted
    RequestResult result;
    ErrorKind error = ErrorKind::request;
    std::string message;
};

}  // namespace orthorank
