// What people complained of in other servers, each as a test: what must not happen here.
#include <future>

#include "server/raw_client.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(Complaints, NothingThatIsAskedForIsIgnored) {
    const RunningServer server;
    const json good = {{"prompt", "a"}, {"max_tokens", 1}};
    const std::vector<std::pair<std::string, json>> fields = {
        {"grammar", "root ::= x"},
        {"logit_bias", {{"5", 1}}},
        {"suffix", "x"},
        {"best_of", 3},
        {"temprature", 0.5},
        {"logprobs", true},
        {"logprobs", 21},
        {"max_tokens", -2},
        {"max_tokens", 1.5},
        {"n", 0},
        {"n", 1000},
        {"temperature", -1},
        {"top_p", 2},
        {"stop", ""},
        {"stop", {1}},
        {"seed", "x"},
        {"stream", 1},
        {"response_format", {{"type", "json_object"}}},
        {"orthorank", {{"plan", "no"}}},
        {"orthorank", {{"sparsity", "30%"}}},
        {"orthorank", {{"sparsity", "much"}}},
        {"orthorank", {{"apply", "prefill"}}},
        {"orthorank", {{"plan", "p"}, {"apply", "never"}}},
        {"orthorank", {{"plan", "p"}, {"sparsity", 0.2}}},
        {"orthorank", {{"plam", "p"}}},
        {"orthorank", 1},
        {"orthorank", {{"n_prompt", 900}}}};
    for (const auto &[name, value] : fields) {
        json body = good;
        body[name] = value;
        const json error = server.refused(400, body);
        EXPECT_EQ(error["type"], "invalid_request_error") << body;
    }
    json body = good;
    body["model"] = "gpt-4";
    EXPECT_EQ(server.refused(404, body)["code"], "model_not_found");
    server.refused(400, "/v1/chat/completions",
                   R"({"messages": [{"role": "user", "content": "a"}], "tools": [{}]})");
    server.expect_alive();
}

TEST(Complaints, NoBodyEndsTheProcess) {
    const RunningServer server;
    std::string noise;
    for (int i = 0; i < 50000; ++i) {
        noise += static_cast<char>(i * 7919 % 251);
    }
    std::string names = "{";  // quadratic work would take minutes
    for (int i = 0; i < 300000; ++i) {
        names += "\"" + std::to_string(i) + "\":1,";
    }
    names.back() = '}';
    server.refused(400, "/v1/completions", names);
    server.refused(400, "/v1/completions", R"({"prompt": "a", "prompt": "b"})");
    const std::vector<std::string> bodies = {
        "",
        "{",
        "[]",
        "null",
        "7",
        noise,
        std::string(1000000, '['),
        "{\"prompt\":" + std::string(100, '[') + std::string(100, ']') + "}",
        R"({"prompt": "a", "max_tokens": 1e999})",
        R"({"prompt": "\ud800"})",
        "{\"prompt\": \"\xff\xfe\"}",
        R"({"prompt": [-1]})",
        R"({"prompt": [288]})",
        R"({"prompt": [99999999999999999999]})",
        R"({"prompt": [18446744073709551615]})",
        R"({"prompt": [1.5]})",
        R"({"prompt": [[1, "a"]]})",
        R"({"prompt": [1, "a"]})",
        R"({"prompt": []})",
        R"({"prompt": [[]]})",
        R"({"prompt": {}})",
        R"({"prompt": 5})",
        R"({"max_tokens": 5})",
        R"({"prompt": null})"};
    for (const std::string &body : bodies) {
        server.refused(400, "/v1/completions", body);
    }
    const std::vector<std::string> chats = {
        R"({"messages": []})",
        R"({"messages": "a"})",
        R"({"messages": [{}]})",
        R"({"messages": [{"role": 5, "content": "a"}]})",
        R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
        R"({"messages": [{"role": "user", "content": 7}]})"};
    for (const std::string &body : chats) {
        server.refused(400, "/v1/chat/completions", body);
    }
    server.refused(400, "/detokenize", R"({"tokens": [-1]})");
    server.refused(400, "/tokenize", R"({"prompt": "a", "content": "b"})");
    // Random ids and a text of 50 KB without meaning are answered like any others.
    server.complete({{"prompt", random_tokens(200, 3)}, {"max_tokens", 2}});
    server.refused(400, json{{"prompt", std::string(50000, 'x')}});
    server.expect_alive();
}

TEST(Complaints, WhatIsNoHttpIsRefused) {
    RunningServer server;
    EXPECT_EQ(server.client().Get("/v1/nothing")->status, 404);
    EXPECT_EQ(server.client().Get("/v1/completions")->status, 405);
    EXPECT_EQ(server.client().Post("/health", "{}", "application/json")->status, 405);
    EXPECT_EQ(server.client().Post("/v1/completions", "a=b", "text/plain")->status, 415);
    const std::vector<std::string> texts = {
        "\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: "
        "-5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n\r\n",
        "GET /health HTTP/1.1\r\nRange: bytes=5-1\r\n\r\n"};
    for (const std::string &text : texts) {
        const RawClient client(server);
        client.send(text);
        EXPECT_THAT(client.receive(), Not(HasSubstr(" 200 "))) << text;
    }
    RawClient silent(server);
    silent.send("POST /v1/comple");
    silent.leave();
    server.expect_alive();
}

TEST(Complaints, ABodyHasALimitAlsoWithoutALength) {
    ServerSetting setting;
    setting.http.max_body_bytes = 2000;
    RunningServer server(setting);
    const json body = {{"prompt", std::string(3000, 'a')}};
    EXPECT_EQ(server.refused(413, body)["code"], "body_too_large");
    const RawClient client(server);
    client.send(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nbb8\r\n" +
        std::string(3000, 'a') + "\r\n");
    EXPECT_THAT(client.receive(), HasSubstr(" 413 "));
    server.expect_alive();
}

TEST(Complaints, AClientThatIsGoneEndsItsRequestAndNoOther) {
    RunningServer server(long_context());
    const json kept = {{"prompt", random_tokens(20, 2)}, {"max_tokens", 1500}, {"temperature", 0}};
    const json expected = server.complete(kept)["choices"][0]["text"];
    for (const bool is_stream : {false, true}) {
        auto other = std::async(std::launch::async, [&] { return server.complete(kept); });
        json body = endless();
        body["stream"] = is_stream;
        RawClient client(server);
        const int64_t n_before = server.counters().n_cancelled;
        client.post("/v1/completions", body);
        ASSERT_TRUE(comes_true([&] { return server.counters().n_sequences_now >= 2; }));
        client.leave();
        EXPECT_TRUE(comes_true([&] { return server.counters().n_cancelled == n_before + 1; }));
        EXPECT_EQ(other.get()["choices"][0]["text"], expected) << "only its own request ends";
    }
    EXPECT_TRUE(comes_true([&] { return server.counters().n_sequences_now == 0; }));
    server.expect_alive();
}

TEST(Complaints, AClientThatIsGoneEndsItsPromptToo) {
    ServerSetting setting = long_context();
    setting.n_sequences = 1;
    RunningServer server(setting);
    std::vector<RawClient> clients;
    clients.reserve(4);
    for (int i = 0; i < 4; ++i) {
        clients.emplace_back(server).post("/v1/completions", endless(2000));
    }
    ASSERT_TRUE(comes_true([&] { return server.counters().n_jobs_now == 4; }));
    for (RawClient &client : clients) {
        client.leave();
    }
    EXPECT_TRUE(comes_true([&] { return server.counters().n_cancelled == 4; }));
    EXPECT_EQ(server.counters().n_new_tokens, 0);
    server.expect_alive();
}

TEST(Complaints, ALongAnswerEndsWithTheContext) {
    const RunningServer server;
    const json answer = server.complete(endless());
    EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
    EXPECT_EQ(answer["usage"]["completion_tokens"], 256 - 5 + 1);
    const json full =
        server.complete({{"prompt", random_tokens(256, 1)}, {"max_tokens", 9}, {"temperature", 0}});
    EXPECT_EQ(full["usage"]["completion_tokens"], 1) << "the last row predicts one";
}

TEST(Complaints, AnOverlongPromptSaysByHowMuch) {
    const RunningServer server;
    for (const json &prompt : {json(random_tokens(257, 1)), json(std::string(5000, 'a'))}) {
        const json error = server.refused(400, json{{"prompt", prompt}});
        EXPECT_EQ(error["code"], "context_length_exceeded");
        EXPECT_EQ(error["n_ctx"], 256);
        EXPECT_GE(error["n_prompt_tokens"], 257);
    }
    const json chat = {{"messages", {{{"role", "user"}, {"content", std::string(900, 'q')}}}}};
    EXPECT_EQ(server.refused(400, "/v1/chat/completions", chat.dump())["n_ctx"], 256);
    // One of several is enough, and nothing of the others is run.
    server.refused(400, json{{"prompt", {random_tokens(3, 1), random_tokens(300, 1)}}});
    EXPECT_EQ(server.counters().n_jobs, 0);
}

TEST(Complaints, AFullQueueIsToldWithATimeToComeAgain) {
    ServerSetting setting = long_context();
    setting.n_sequences = 1;
    setting.loop.n_queue = 1;
    RunningServer server(setting);
    RawClient running(server);
    RawClient waiting(server);
    running.post("/v1/completions", endless());
    waiting.post("/v1/completions", endless());
    ASSERT_TRUE(comes_true([&] { return server.counters().n_jobs_now == 2; }));
    const httplib::Result result = server.post("/v1/completions", endless().dump());
    EXPECT_EQ(result->status, 429);
    EXPECT_EQ(result->get_header_value("Retry-After"), "1");
    EXPECT_THAT(result->body, HasSubstr("queue_full"));
    EXPECT_EQ(server.client().Get("/health")->status, 200);
    running.leave();
    waiting.leave();
    EXPECT_TRUE(comes_true([&] { return server.loop().is_idle(); }));
    server.expect_alive();
}

TEST(Complaints, ManyPromptsOfOneDoNotKeepOthersWaiting) {
    ServerSetting setting = long_context();
    setting.n_sequences = 2;
    RunningServer server(setting);
    json body = endless();
    body["prompt"] = std::vector<std::vector<int32_t>>(100, random_tokens(5, 7));
    body["max_tokens"] = 300;
    RawClient greedy(server);
    greedy.post("/v1/completions", body);
    ASSERT_TRUE(comes_true([&] { return server.counters().n_sequences_now == 2; }));
    server.expect_alive();
    EXPECT_TRUE(comes_true([&] { return server.counters().n_jobs_now == 1; }))
        << "the many are not done yet";
}

TEST(Complaints, TooLongIsAnErrorOfItsOwn) {
    ServerSetting setting = long_context();
    setting.loop.timeout_s = 0.05;
    const RunningServer server(setting);
    json body = endless();
    body["prompt"] = std::vector<std::vector<int32_t>>(20, random_tokens(900, 7));
    EXPECT_EQ(server.refused(504, body)["code"], "timeout");
}

}  // namespace
}  // namespace orthorank::test
