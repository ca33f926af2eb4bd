#include "session/session.h"

#include <algorithm>
#include <new>
#include <utility>

#include "engine/forward.h"
#include "engine/stretch.h"
#include "session/live_request.h"

namespace orthorank {

// A pass in progress, and whose it is.
struct Turn {
    std::vector<LiveRequest *> members;
    bool is_long = false;  // one prompt, one graph a step
    BoundaryTap tap{{}, {}};
    std::unique_ptr<ForwardPass> pass;  // none before its first graph

    bool is_over() const { return members.empty(); }
};

Session::Session(Engine &engine, const SessionOptions &options)
    : engine_(engine), options_(options) {
    CHECK(options.n_long_prompts > 0);
}

Session::~Session() = default;

RequestId Session::submit(Request request) {
    check(request);
    auto live = std::make_unique<LiveRequest>(next_id_, std::move(request));
    const RequestId after = live->request.after;
    if (after != 0) {
        live->sequence.emplace(std::move(*requests_.at(after)->sequence));
        requests_.erase(after);
        if (live->request.n_keep >= 0) {
            live->sequence->truncate(live->request.n_keep);
        }
        live->n_rows_offered_before = live->sequence->n_rows_offered();
        live->n_rows_computed_before = live->sequence->n_rows_computed();
    }
    requests_.emplace(next_id_, std::move(live));
    admit();
    return next_id_++;
}

std::vector<Event> Session::step() {
    admit();
    for (Turn *turn : due_turns()) {
        try {
            start(*turn);
            do {
                turn->pass->step();
            } while (!turn->is_long && !turn->pass->is_done());
            if (turn->pass->is_done()) {
                complete(*turn);
            }
        } catch (const Error &error) {
            drop(*turn, error.kind(), error.what());
        } catch (const std::bad_alloc &) {
            drop(*turn, ErrorKind::limit, "no memory");
        } catch (...) {
            stop(*turn);
            throw;
        }
    }
    remove_ended();
    return std::exchange(events_, {});
}

void Session::admit() {
    for (auto &[id, live] : requests_) {
        if (live->sequence || live->is_finished) {
            continue;
        }
        if (engine_.n_free_sequences() == 0) {
            const bool any_will_come =
                std::any_of(requests_.begin(), requests_.end(),
                            [](const auto &entry) { return entry.second->sequence.has_value(); });
            if (!any_will_come) {
                fail_request(*live, ErrorKind::limit,
                             "all sequences of the engine are in use elsewhere");
            }
            return;
        }
        try {
            live->sequence.emplace(engine_.new_sequence(live->request.plan));
        } catch (const Error &error) {
            fail_request(*live, error.kind(), error.what());
        }
    }
}

int64_t Session::shared_rows() const {
    return options_.shared_rows > 0 ? options_.shared_rows : engine_.options().chunk_rows;
}

Turn &Session::add_turn(bool is_long) {
    turns_.emplace_back();
    turns_.back().is_long = is_long;
    return turns_.back();
}

// Decode steps and short prompts, in order of arrival; those that run alone by themselves.
void Session::add_short_turns() {
    std::vector<LiveRequest *> steps;
    std::vector<LiveRequest *> prompts;
    for (auto &[id, live] : requests_) {
        if (live->has_turn || !(live->is_decoding() || live->is_reading())) {
            continue;
        }
        if (live->runs_alone && live->is_decoding()) {
            add_turn(false).members.push_back(live.get());
            live->has_turn = true;
        } else if (!live->runs_alone && live->request.boundaries.empty()) {
            (live->is_decoding() ? steps : prompts).push_back(live.get());
        }
    }
    auto n_rows = static_cast<int64_t>(steps.size());
    for (LiveRequest *prompt : prompts) {
        if (n_rows + prompt->n_next() <= shared_rows()) {
            n_rows += prompt->n_next();
            steps.push_back(prompt);
        }
    }
    if (!steps.empty()) {
        add_turn(false).members = steps;
    }
    for (LiveRequest *live : steps) {
        live->has_turn = true;
    }
}

// Prompts that cannot share a pass with the decode steps, while there is room for them.
void Session::add_long_turns() {
    auto n_long =
        std::count_if(turns_.begin(), turns_.end(), [](const Turn &turn) { return turn.is_long; });
    const auto n_steps = std::count_if(requests_.begin(), requests_.end(), [](const auto &entry) {
        return entry.second->is_decoding();
    });
    for (auto &[id, live] : requests_) {
        const bool is_long = live->runs_alone || !live->request.boundaries.empty() ||
                             n_steps + live->n_next() > shared_rows();
        if (live->is_reading() && !live->has_turn && is_long && n_long < options_.n_long_prompts) {
            add_turn(true).members.push_back(live.get());
            live->has_turn = true;
            ++n_long;
        }
    }
}

std::vector<Turn *> Session::due_turns() {
    add_short_turns();
    add_long_turns();
    std::vector<Turn *> due;
    const auto next =
        std::find_if(turns_.begin(), turns_.end(), [](const Turn &turn) { return turn.is_long; });
    for (Turn &turn : turns_) {
        if (!turn.is_long) {
            due.push_back(&turn);
        }
    }
    if (next != turns_.end()) {
        due.push_back(&*next);
        turns_.splice(turns_.end(), turns_, next);
    }
    return due;
}

void Session::start(Turn &turn) {
    if (turn.pass) {
        return;
    }
    std::vector<Chunk> chunks;
    for (LiveRequest *live : turn.members) {
        if (!live->watch) {
            live->watch.emplace();
        }
        chunks.push_back(live->next_chunk());
    }
    ForwardOptions options;
    options.watch = options_.watch;
    options.on_logits = [this, members = turn.members](const LogitsBlock &block) {
        members[block.chunk]->read_logits(block, engine_.n_threads());
    };
    LiveRequest &first = *turn.members.front();
    if (!first.request.boundaries.empty() && first.is_reading()) {
        turn.tap = BoundaryTap(first.request.boundaries,
                               [&first](int boundary, size_t, std::span<const float> rows) {
                                   std::vector<float> &hidden = first.result.hidden[boundary];
                                   hidden.insert(hidden.end(), rows.begin(), rows.end());
                               });
        options.tap = &turn.tap;
    }
    turn.pass = std::make_unique<ForwardPass>(engine_, chunks, options);
}

// The members of a turn that ends.
std::vector<LiveRequest *> Session::end(Turn &turn) {
    turn.pass.reset();
    std::vector<LiveRequest *> members = std::exchange(turn.members, {});
    for (LiveRequest *live : members) {
        live->has_turn = false;
    }
    return members;
}

void Session::complete(Turn &turn) {
    for (LiveRequest *live : end(turn)) {
        live->runs_alone = false;
        try {
            advance(*live);
        } catch (const Error &error) {  // logits that nothing can be chosen from
            fail_request(*live, error.kind(), error.what());
        } catch (const std::bad_alloc &) {
            fail_request(*live, ErrorKind::limit, "no memory");
        }
    }
}

// What is no failure of a request: the caller's own, such as Ctrl-C, or a mistake of ours. Another
// step is without the first of them, and gathers anew who shares a pass.
void Session::stop(Turn &turn) {
    const std::vector<LiveRequest *> members = end(turn);
    if (!members.empty()) {
        fail_request(*members.front(), ErrorKind::request, "stopped");
    }
    for (Turn &other : turns_) {
        if (!other.is_long) {
            end(other);
        }
    }
    remove_ended();
}

void Session::drop(Turn &turn, ErrorKind error, const std::string &message) {
    const std::vector<LiveRequest *> members = end(turn);
    for (LiveRequest *live : members) {
        live->runs_alone = true;
    }
    if (members.size() == 1) {
        fail_request(*members.front(), error, message);
    }
}

// What its chunk was has been run.
void Session::advance(LiveRequest &live) {
    if (live.is_reading()) {
        live.n_read += live.n_next();
        if (live.n_read < live.n_tokens()) {
            return;
        }
        live.result.prefill_s = live.watch->elapsed_s();
        live.watch->restart();
        if (live.request.tells_read) {
            tell_read(live);
        }
    } else {
        live.pending = -1;
        ++live.result.n_decoded;
    }
    if (live.n_wanted() == 0) {
        finish(live, StopReason::length);
    } else {
        take_token(live);
    }
}

void Session::tell_read(const LiveRequest &live) {
    Event event;
    event.request = live.id;
    event.kind = Event::Kind::read;
    event.result.target_log_probs = live.result.target_log_probs;
    events_.push_back(std::move(event));
}

void Session::take_token(LiveRequest &live) {
    const Vocab &vocab = engine_.model().vocab();
    const int32_t token = live.choose(vocab);
    if (live.request.forced.empty() && live.is_end(token, vocab)) {
        live.result.end_token = token;
        if (live.request.wants_log_probs) {
            live.result.end_log_prob = token_log_prob(live.logits, token, live.request.n_top);
        }
        finish(live, StopReason::end);
        return;
    }
    Event event;
    event.request = live.id;
    event.token = token;
    RequestResult &result = live.result;
    result.tokens.push_back(token);
    if (live.request.wants_log_probs) {
        event.log_prob = token_log_prob(live.logits, token, live.request.n_top);
        result.log_probs.push_back(*event.log_prob);
    }
    if (live.request.wants_text || !live.request.stop.empty()) {
        event.text = live.text.push(vocab.piece(token));
        result.text += event.text;
    }
    events_.push_back(std::move(event));
    if (live.text.is_stopped()) {
        finish(live, StopReason::stop);
    } else if (result.tokens.size() == live.n_wanted()) {
        finish(live, StopReason::length);
    } else if (live.sequence->n_past() == engine_.n_ctx()) {
        finish(live, StopReason::context);
    } else {
        live.pending = token;
    }
}

void Session::finish(LiveRequest &live, StopReason reason) {
    Event event;
    event.request = live.id;
    event.kind = Event::Kind::finished;
    event.text = live.text.flush();
    RequestResult &result = live.result;
    result.text += event.text;
    result.stop_reason = reason;
    result.decode_s = live.watch->elapsed_s();
    result.n_rows_offered = live.sequence->n_rows_offered() - live.n_rows_offered_before;
    result.n_rows_computed = live.sequence->n_rows_computed() - live.n_rows_computed_before;
    for (int il = 0; live.request.wants_records && il < live.sequence->plan().n_layers(); ++il) {
        result.records.push_back(live.sequence->record(il));
    }
    event.result = std::move(result);
    events_.push_back(std::move(event));
    live.is_finished = true;
    if (!live.request.keeps) {
        live.sequence.reset();
    }
}

void Session::fail_request(LiveRequest &live, ErrorKind error, const std::string &message) {
    Event event;
    event.request = live.id;
    event.kind = Event::Kind::failed;
    event.error = error;
    event.message = message;
    events_.push_back(std::move(event));
    live.is_finished = true;
    live.sequence.reset();
}

void Session::remove_ended() {
    turns_.remove_if([](const Turn &turn) { return turn.is_over(); });
    std::erase_if(requests_, [](const auto &entry) {
        return entry.second->is_finished && !entry.second->sequence;
    });
}

void Session::cancel(RequestId id) {
    const auto found = requests_.find(id);
    if (found == requests_.end() || found->second->is_finished) {
        return;
    }
    // Between steps only long prompts have a pass, each its own.
    turns_.remove_if([&](const Turn &turn) { return turn.members.front() == found->second.get(); });
    requests_.erase(found);
}

void Session::release(RequestId id) {
    const auto found = requests_.find(id);
    if (found != requests_.end() && found->second->is_finished) {
        requests_.erase(found);
    }
}

bool Session::is_idle() const {
    return events_.empty() &&
           std::all_of(requests_.begin(), requests_.end(),
                       [](const auto &entry) { return entry.second->is_finished; });
}

size_t Session::n_queued() const {
    return static_cast<size_t>(std::count_if(
        requests_.begin(), requests_.end(),
        [](const auto &entry) { return !entry.second->is_finished && !entry.second->sequence; }));
}

const Sequence *Session::sequence(RequestId id) const {
    const auto found = requests_.find(id);
    const bool is_kept = found != requests_.end() && found->second->is_finished;
    return is_kept ? &*found->second->sequence : nullptr;
}

RequestResult run_request(Engine &engine, Request request,
                          const std::function<void(const Event &)> &on_event,
                          const std::function<void()> &on_step) {
    Session session(engine);
    session.submit(std::move(request));
    RequestResult result;
    while (!session.is_idle()) {
        for (Event &event : session.step()) {
            if (event.kind == Event::Kind::failed) {
                throw Error(event.error, event.message);
            }
            if (on_event) {
                on_event(event);
            }
            if (event.kind == Event::Kind::finished) {
                result = std::move(event.result);
            }
        }
        if (on_step) {
            on_step();
        }
    }
    return result;
}

}  // namespace orthorank
