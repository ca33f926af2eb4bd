#include "server/stream.h"

#include <memory>
#include <new>
#include <utility>

#include "server/answer.h"
#include "server/connection.h"

namespace orthorank {

namespace {

// How often a waiting thread looks whether its client is there.
constexpr std::chrono::milliseconds k_look_around{20};

// A generation under way. Ends its job when it is destroyed.
struct Running {
    Running(Generation generation_in, const ServedModel &served_in, EngineLoop &loop)
        : generation(std::move(generation_in)),
          served(served_in),
          answer(generation, served),
          job(loop.submit(std::move(generation.requests))) {}
    ~Running() { job->cancel(); }
    Running(const Running &) = delete;
    Running &operator=(const Running &) = delete;

    // Nothing: the client is gone.
    std::optional<JobEvent> next() {
        while (!Connection::current().is_gone()) {
            std::optional<JobEvent> event =
                first ? std::exchange(first, std::nullopt) : job->next(k_look_around);
            if (event) {
                return event;
            }
        }
        Connection::current().close_after_answer();
        return {};
    }

    Generation generation;
    ServedModel served;
    Answer answer;
    JobPtr job;
    std::optional<JobEvent> first;  // was looked at before the stream began
};

ApiError client_gone() {
    return ApiError(499, "client_gone", "the client has closed the connection");
}

bool write_event(httplib::DataSink &sink, const std::string &data) {
    const std::string event = "data: " + data + "\n\n";
    return sink.write(event.data(), event.size());
}

void end_stream(httplib::DataSink &sink) {
    write_event(sink, "[DONE]");
    sink.done();
}

// The end of a stream that failed; false: the client is gone.
bool end_with_error(httplib::DataSink &sink, const ApiError &error) {
    const bool is_written = write_event(sink, json_line(error.json()));
    end_stream(sink);
    return is_written;
}

// One piece of a stream; false: the client is gone.
bool write_next(Running &running, httplib::DataSink &sink) {
    const std::optional<JobEvent> next = running.next();
    if (!next) {
        return false;
    }
    if (next->error) {
        return end_with_error(sink, *next->error);
    }
    const nlohmann::ordered_json piece = running.answer.take(next->index, next->event);
    if (!piece.is_null() && !write_event(sink, json_line(piece))) {
        return false;
    }
    if (running.answer.is_finished()) {
        if (running.generation.stream_usage) {
            write_event(sink, json_line(running.answer.usage_event()));
        }
        end_stream(sink);
    }
    return true;
}

// The library guards handlers alone: what is thrown here would leave the thread.
bool stream_next(Running &running, httplib::DataSink &sink) {
    try {
        return write_next(running, sink);
    } catch (...) {
        return end_with_error(sink, caught_error());
    }
}

void answer_whole(Running &running, httplib::Response &res) {
    while (!running.answer.is_finished()) {
        const std::optional<JobEvent> next = running.next();
        if (!next) {
            throw client_gone();
        }
        if (next->error) {
            throw ApiError(*next->error);
        }
        running.answer.take(next->index, next->event);
    }
    res.set_content(json_line(running.answer.json()), "application/json");
}

}  // namespace

ApiError caught_error() {
    try {
        throw;
    } catch (const ApiError &error) {
        return error;
    } catch (const Error &error) {
        return refusal_of(error.kind(), error.what());
    } catch (const std::bad_alloc &) {
        return failure_of(ErrorKind::limit, "no memory");
    } catch (const std::exception &error) {
        return ApiError(500, "internal_error", fmt::format("a bug: {}", error.what()));
    } catch (...) {
        return ApiError(500, "internal_error", "a bug");
    }
}

std::string json_line(const nlohmann::ordered_json &json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void answer_generation(Generation generation, const ServedModel &served, EngineLoop &loop,
                       httplib::Response &res) {
    const bool is_stream = generation.stream;
    const auto running = std::make_shared<Running>(std::move(generation), served, loop);
    if (!is_stream) {
        answer_whole(*running, res);
        return;
    }
    // What fails before anything was written still has a status of its own.
    running->first = running->next();
    if (!running->first) {
        throw client_gone();
    }
    if (running->first->error) {
        throw ApiError(*running->first->error);
    }
    res.set_header("Cache-Control", "no-store");
    res.set_chunked_content_provider(
        "text/event-stream",
        [running](size_t, httplib::DataSink &sink) { return stream_next(*running, sink); });
}

}  // namespace orthorank
