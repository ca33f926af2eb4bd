// Streams: the same answer in pieces, whole characters only, and never a stop string.
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <stdexcept>

#include "base/utf8.h"
#include "server/connection.h"
#include "server/server_fixture.h"
#include "server/stream.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json greedy(int n_prompt, uint64_t seed, int n_new) {
    return {{"prompt", random_tokens(n_prompt, seed)}, {"max_tokens", n_new}, {"temperature", 0}};
}

std::string text_of(const std::vector<json> &events, int index = 0) {
    std::string text;
    for (const json &event : events) {
        for (const json &choice : event["choices"]) {
            if (choice["index"] == index) {
                text += choice["text"].get<std::string>();
            }
        }
    }
    return text;
}

std::vector<json> stream(const RunningServer &server, json body) {
    body["stream"] = true;
    const httplib::Result result = server.post("/v1/completions", body.dump());
    EXPECT_EQ(result->status, 200) << result->body;
    EXPECT_THAT(result->get_header_value("Content-Type"), HasSubstr("text/event-stream"));
    return events_of(result->body);
}

TEST(Streams, HaveTheWholeAnswerInPieces) {
    const RunningServer server;
    json body = greedy(9, 1, 30);
    body["logprobs"] = 1;
    const json whole = server.complete(body)["choices"][0];
    const std::vector<json> events = stream(server, body);
    EXPECT_GT(events.size(), 5u);
    EXPECT_EQ(text_of(events), whole["text"]);
    json values = json::array();
    for (const json &event : events) {
        const json &choice = event["choices"][0];
        const std::string text = choice["text"];
        EXPECT_EQ(find_invalid_utf8(text), std::string_view::npos);
        if (!choice["logprobs"].is_null()) {
            for (const json &value : choice["logprobs"]["token_logprobs"]) {
                values.push_back(value);
            }
        }
        EXPECT_EQ(choice["finish_reason"].is_null(), &event != &events.back());
    }
    EXPECT_EQ(values, whole["logprobs"]["token_logprobs"]);
    EXPECT_EQ(events.back()["usage"]["completion_tokens"], 30);
    EXPECT_TRUE(events.back().contains("orthorank"));
}

TEST(Streams, SeveralAnswersAndTheUsageBehindThem) {
    const RunningServer server;
    json body = {{"prompt", json::array({random_tokens(5, 2), random_tokens(6, 3)})},
                 {"max_tokens", 10},
                 {"temperature", 0},
                 {"echo", true}};
    const json whole = server.complete(body)["choices"];
    body["stream_options"] = {{"include_usage", true}};
    const std::vector<json> events = stream(server, body);
    EXPECT_EQ(text_of(events, 0), whole[0]["text"]);
    EXPECT_EQ(text_of(events, 1), whole[1]["text"]);
    EXPECT_TRUE(events.back()["choices"].empty());
    EXPECT_EQ(events.back()["usage"]["prompt_tokens"], 11);
}

// The columns of all pieces of an answer's log-probabilities, put together.
json columns_of(const std::vector<json> &events, int index = 0) {
    json columns;
    for (const json &event : events) {
        for (const json &choice : event["choices"]) {
            if (choice["index"] != index || choice["logprobs"].is_null()) {
                continue;
            }
            for (const auto &[name, values] : choice["logprobs"].items()) {
                for (const json &value : values) {
                    columns[name].push_back(value);
                }
            }
        }
    }
    return columns;
}

TEST(Streams, AnEchoedPromptIsTheFirstPieceWithItsLogProbabilities) {
    const RunningServer server;
    for (const char *model : {"tiny", "tiny@p.json", "tiny@20%"}) {
        SCOPED_TRACE(model);
        json body = greedy(9, 5, 12);
        body["model"] = model;
        body["prompt"] = json::array({random_tokens(9, 5), "the quick fox"});
        body["echo"] = true;
        body["logprobs"] = 2;
        const json whole = server.complete(body)["choices"];
        const std::vector<json> events = stream(server, body);
        const json &first = events.front()["choices"][0];
        EXPECT_EQ(first["logprobs"]["token_logprobs"].size(), 9u);
        EXPECT_TRUE(first["finish_reason"].is_null());
        EXPECT_EQ(whole[0]["text"].get<std::string>().find(first["text"].get<std::string>()), 0u);
        EXPECT_GT(events.size(), 12u);
        for (int i = 0; i < 2; ++i) {
            EXPECT_EQ(text_of(events, i), whole[i]["text"]);
            EXPECT_EQ(columns_of(events, i), whole[i]["logprobs"]);
        }
    }
}

TEST(Streams, AnEchoedPromptWithNothingBehindIt) {
    const RunningServer server;
    json body = greedy(6, 7, 0);
    body["echo"] = true;
    body["logprobs"] = 0;
    const json whole = server.complete(body)["choices"][0];
    const std::vector<json> events = stream(server, body);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0]["choices"][0]["text"], whole["text"]);
    EXPECT_EQ(columns_of(events), whole["logprobs"]);
    EXPECT_EQ(events[1]["choices"][0]["finish_reason"], "length");
    body.erase("logprobs");
    const std::vector<json> plain = stream(server, body);
    EXPECT_EQ(plain[0]["choices"][0]["text"], whole["text"]);
    EXPECT_TRUE(plain[0]["choices"][0]["logprobs"].is_null());
}

TEST(Streams, OfAChatBeginWithTheRole) {
    const RunningServer server;
    const json body = {{"messages", {{{"role", "user"}, {"content", "a"}}}},
                       {"max_completion_tokens", 5},
                       {"temperature", 0},
                       {"stream", true}};
    const std::vector<json> events =
        events_of(server.post("/v1/chat/completions", body.dump())->body);
    EXPECT_EQ(events.front()["object"], "chat.completion.chunk");
    EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
    EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
}

// Stop strings of one to four characters taken out of the answer itself, at every place.
TEST(Streams, AStopStringNeverAppearsHoweverTheTokensFall) {
    const RunningServer server;
    const std::string whole = server.complete(greedy(9, 4, 40))["choices"][0]["text"];
    const std::vector<int32_t> characters = to_code_points(whole);
    ASSERT_GT(characters.size(), 20u);
    for (size_t n = 1; n <= 4; ++n) {
        for (size_t at = 0; at + n <= characters.size(); at += 5) {
            const std::string stop =
                to_utf8({characters.begin() + static_cast<std::ptrdiff_t>(at),
                         characters.begin() + static_cast<std::ptrdiff_t>(at + n)});
            if (stop.find("\xef\xbf\xbd") != std::string::npos) {
                continue;  // bytes that are no character
            }
            SCOPED_TRACE(stop);
            json body = greedy(9, 4, 40);
            body["stop"] = {stop, "never said"};
            body["logprobs"] = 0;
            const std::string expected = whole.substr(0, whole.find(stop));
            const json choice = server.complete(body)["choices"][0];
            EXPECT_EQ(choice["text"], expected);
            EXPECT_EQ(choice["finish_reason"], "stop");
            const std::vector<json> events = stream(server, body);
            EXPECT_EQ(text_of(events), expected);
            size_t n_tokens = 0;
            for (const json &event : events) {
                const json &columns = event["choices"][0]["logprobs"];
                n_tokens += columns.is_null() ? 0 : columns["tokens"].size();
            }
            EXPECT_EQ(n_tokens, choice["logprobs"]["tokens"].size());
        }
    }
}

// The library catches nothing there, and the process would end.
TEST(Streams, WhatIsThrownBetweenPiecesIsTheLastEvent) {
    RunningServer server;
    int sockets[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    const Connection connection(sockets[0], {});
    json body = greedy(9, 1, 30);
    body["stream"] = true;
    httplib::Response res;
    answer_generation(read_completion(body, server.served()), server.served(), server.loop(), res);
    std::string written;
    bool has_thrown = false;
    bool is_done = false;
    httplib::DataSink sink;
    sink.write = [&](const char *data, size_t n) {
        if (!has_thrown) {
            has_thrown = true;
            throw std::runtime_error("no such piece");
        }
        written.append(data, n);
        return true;
    };
    sink.done = [&] { is_done = true; };
    while (!is_done) {
        ASSERT_TRUE(res.content_provider_(0, 0, sink));
    }
    const std::vector<json> events = events_of(written);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0]["error"]["code"], "internal_error");
    EXPECT_THAT(events[0]["error"]["message"].get<std::string>(), HasSubstr("no such piece"));
    ::close(sockets[1]);
}

TEST(Streams, WhatFailsBeforeTheFirstPieceHasAStatus) {
    const RunningServer server;
    json body = greedy(300, 1, 5);
    body["stream"] = true;
    EXPECT_EQ(server.refused(400, body)["code"], "context_length_exceeded");
}

}  // namespace
}  // namespace orthorank::test
