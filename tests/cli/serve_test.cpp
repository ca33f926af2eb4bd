// The server as a program: what it prints and refuses at the start, that it answers, how it ends.
#include <gmock/gmock.h>
#include <httplib.h>

#include <csignal>
#include <future>
#include <regex>

#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class Serve : public CommandTest {
 protected:
    std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
        std::vector<std::string> all = {"serve", "-m",     model_,   "--threads", "1",
                                        "--ctx", "512",    "--port", "0",         "--plan",
                                        plan_,   "--name", "m"};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }
    static std::string program() { return std::string(ORTHORANK_BINARY_DIR) + "/orthorank"; }
    static int port_of(const RunningProgram &server) {
        static const std::regex pattern("listening on http://127.0.0.1:([0-9]+)\n");
        std::smatch match;
        const std::string text = server.err();
        EXPECT_TRUE(std::regex_search(text, match, pattern)) << text;
        return match.empty() ? 0 : std::stoi(match[1]);
    }
};

TEST_F(Serve, SaysWhatItReservedAnswersAndEndsWhenItIsTold) {
    RunningProgram server(program(), arguments({"--parallel", "2"}));
    ASSERT_TRUE(server.says("listening on ")) << server.err();
    // 2 sequences of 512 positions, keys and values of 3 layers of 64 numbers in F16.
    EXPECT_THAT(server.err(), HasSubstr("KV cache 786432 bytes"));
    EXPECT_THAT(server.err(), HasSubstr("plans: plan.json"));
    httplib::Client client("127.0.0.1", port_of(server));
    client.set_read_timeout(60);
    const auto answer = client.Post(
        "/v1/completions",
        R"({"model": "m@plan.json", "prompt": [5, 6, 7, 8], "max_tokens": 4, "temperature": 0})",
        "application/json");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200) << answer->body;
    EXPECT_EQ(json::parse(answer->body)["orthorank"]["plan"], "plan.json");
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.wait().exit_code, 0) << server.err();
}

TEST_F(Serve, RunningRequestsAreAnsweredAfterTheSignal) {
    RunningProgram server(program(), arguments());
    ASSERT_TRUE(server.says("listening on ")) << server.err();
    httplib::Client client("127.0.0.1", port_of(server));
    client.set_read_timeout(60);
    auto running = std::async(std::launch::async, [&] {
        httplib::Client other("127.0.0.1", port_of(server));
        other.set_read_timeout(60);
        return other.Post("/v1/completions",
                          R"({"prompt": [[5],[6],[7],[8],[9]], "max_tokens": 400, "stream": true,)"
                          R"( "temperature": 0})",
                          "application/json");
    });
    const auto is_running = [&] {
        const auto metrics = client.Get("/metrics");
        return metrics &&
               metrics->body.find("\northorank_requests_in_progress 1\n") != std::string::npos;
    };
    for (int i = 0; i < 1000 && !is_running(); ++i) {
    }
    server.send_signal(SIGINT);
    const auto answer = running.get();
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->body, HasSubstr("data: [DONE]"));
    EXPECT_THAT(answer->body, testing::Not(HasSubstr("\"error\"")));
    const ProgramResult end = server.wait();
    EXPECT_EQ(end.exit_code, 130) << end.err;
    EXPECT_THAT(end.err, HasSubstr("orthorank: interrupted; all requests were answered"));
}

TEST_F(Serve, WhatCannotBeServedIsRefusedAtTheStart) {
    expect_failure(2, "--ctx", {"serve", "--ctx", "1"});
    expect_failure(1, "context", {"serve", "--ctx", "100000", "--port", "0"});
    expect_failure(2, "--api-key", {"serve", "--host", "0.0.0.0", "--port", "0"});
    expect_failure(2, "--parallel", {"serve", "--parallel", "0"});
    write_bytes(dir_.file("keys"), "\n\n");
    expect_failure(2, "no key", {"serve", "--api-key-file", dir_.file("keys"), "--port", "0"});
    expect_failure(2, "no plan of 20%", {"serve", "--sparsity", "20%", "--port", "0"});
    RunningProgram server(program(), arguments());
    ASSERT_TRUE(server.says("listening on ")) << server.err();
    expect_failure(1, "cannot listen", {"serve", "--port", std::to_string(port_of(server))});
}

}  // namespace
}  // namespace orthorank::test
