// A request in a session: its sequence, how far it got, and what came out so far. Internal to the
// session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/stopwatch.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "model/vocab.h"
#include "session/request.h"
#include "session/text_stream.h"

namespace orthorank {

struct LiveRequest {
    LiveRequest(RequestId id, Request request);

    // Does it wait to read more of its tokens, or to decode the one that came last?
    bool is_reading() const { return !is_finished && sequence && n_read < n_tokens(); }
    bool is_decoding() const { return !is_finished && sequence && pending >= 0; }
    int64_t n_tokens() const { return static_cast<int64_t>(request.tokens.size()); }
    // New tokens at most.
    size_t n_wanted() const;
    // Rows of the next chunk.
    int64_t n_next() const;
    // What it runs next. Points into this.
    Chunk next_chunk();
    // Takes the logits of the chunk that runs; blocks of a chunk that fails and runs again replace
    // the earlier ones.
    void read_logits(const LogitsBlock &block, int n_threads);
    // The next token, given the logits of the last row.
    int32_t choose(const Vocab &vocab);
    // Would this token end the answer?
    bool is_end(int32_t token, const Vocab &vocab) const;

    RequestId id;
    Request request;
    Sampler sampler;
    TextStream text;
    std::optional<Sequence> sequence;  // none while it is queued
    int64_t n_rows_offered_before = 0;
    int64_t n_rows_computed_before = 0;
    int64_t n_read = 0;     // of request.tokens
    int32_t pending = -1;   // the new token that is to be run next
    bool has_turn = false;  // a pass in progress runs it
    // A pass that it shared with others failed: it runs alone until one succeeds.
    bool runs_alone = false;
    bool is_finished = false;
    std::vector<float> logits;  // of the last row, where a token is to be chosen
    RequestResult result;
    std::optional<Stopwatch> watch;  // from its first graph on, then from its first new token on

 private:
    int64_t end_of_part() const;
    void read_targets(const LogitsBlock &block, int n_threads);
};

// log p(target) under a row of logits [n_vocab], and the n_top likeliest.
TokenLogProb token_log_prob(std::span<const float> row, int32_t target, int n_top);

}  // namespace orthorank
