// Many requests on one engine: each has a sequence, a plan and a sampler of its own, and all that
// are alive advance together. One step() runs the decode steps of all requests, with short prompts
// beside them, as one batch, then one graph of one long prompt, so that nobody waits for a long
// prompt longer than one of its graphs takes. The only place where tokens are decoded one after the
// other. Owns requests and their sequences; borrows the engine, which must outlive it and which
// nobody else may run at the same time. Not thread-safe: one thread calls everything.
//
// What a request gets does not depend on its neighbours but for the rounding of other shapes. One
// that fails takes only its own sequence with it: a batch that fails is taken back and its members
// run alone.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "session/request.h"

namespace orthorank {

class ForwardPass;
struct LiveRequest;
struct Turn;

struct SessionOptions {
    // Prompts that together have at most this many rows, decode steps counted, share a pass with
    // them; a longer one is a pass of its own that runs one graph a step. 0: the engine's chunk.
    int64_t shared_rows = 0;
    // Long prompts in progress at once, taking turns; others wait. Each has hidden rows of its own
    // (Engine::memory, hidden_bytes): at most n_long_prompts * n_ctx * n_embd * 4 bytes.
    int n_long_prompts = 2;
    GraphWatch *watch = nullptr;  // sees the graphs (graph/graph_watch.h)
};

class Session {
 public:
    explicit Session(Engine &engine, const SessionOptions &options = {});
    ~Session();
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    // Takes a request: it gets a free sequence, or waits behind others; ids begin at 1. Refuses
    // what is wrong with it before anything is touched: Error{limit} when it does not fit into the
    // context, Error{request} for token ids outside the vocabulary, numbers without meaning, and an
    // `after` that is not there, not finished or not kept, Error{usage} for an empty prompt and
    // sampler options, and what Engine::check says of its plan.
    RequestId submit(Request request);
    // Advances all that is alive. Empty events do not mean that nothing is alive: is_idle() does.
    // Throws only what is our own mistake: a request's trouble is its event.
    std::vector<Event> step();
    // Ends a request without another event and frees its sequence, in the middle of its prompt too.
    // Unknown and finished ones are ignored.
    void cancel(RequestId id);
    // Frees the sequence that a finished request kept.
    void release(RequestId id);

    // Nothing to do and nothing to tell: every request is finished.
    bool is_idle() const;
    // Requests that wait for a free sequence.
    size_t n_queued() const;
    // The sequence of a request that is finished and kept it; null if there is none.
    const Sequence *sequence(RequestId id) const;
    // A watch for what comes; null: none.
    void set_watch(GraphWatch *watch) { options_.watch = watch; }

 private:
    void check(const Request &request) const;
    void admit();
    // What runs in this step: one shared pass, members of failed ones alone, one long prompt.
    std::vector<Turn *> due_turns();
    void add_short_turns();
    void add_long_turns();
    Turn &add_turn(bool is_long);
    void start(Turn &turn);
    static std::vector<LiveRequest *> end(Turn &turn);
    void complete(Turn &turn);
    void stop(Turn &turn);
    // The pass failed: what it did is taken back.
    void drop(Turn &turn, ErrorKind error, const std::string &message);
    void advance(LiveRequest &live);
    void tell_read(const LiveRequest &live);
    void take_token(LiveRequest &live);
    void finish(LiveRequest &live, StopReason reason);
    void fail_request(LiveRequest &live, ErrorKind error, const std::string &message);
    void remove_ended();
    int64_t shared_rows() const;

    Engine &engine_;
    SessionOptions options_;
    RequestId next_id_ = 1;
    std::map<RequestId, std::unique_ptr<LiveRequest>> requests_;  // in order of arrival
    // Passes in progress; between steps those of long prompts, the next one first.
    std::list<Turn> turns_;
    std::vector<Event> events_;
};

// A session of one request, run to its end: its result. on_event sees its events; on_step is called
// after each step, in the middle of a long prompt too. Both may throw, which ends the request.
// Throws the request's error.
RequestResult run_request(Engine &engine, Request request,
                          const std::function<void(const Event &)> &on_event = {},
                          const std::function<void()> &on_step = {});

}  // namespace orthorank
