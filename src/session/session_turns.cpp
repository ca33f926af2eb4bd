// Whose turn it is in a session's step: who shares a pass, and what becomes of them when it ends.
#include <algorithm>
#include <new>
#include <utility>

#include "session/live_request.h"
#include "session/session.h"
#include "session/turn.h"

namespace orthorank {

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

}  // namespace orthorank
