#include "session/session.h"

#include <algorithm>
#include <new>
#include <utility>

#include "session/live_request.h"
#include "session/turn.h"

namespace orthorank {

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
