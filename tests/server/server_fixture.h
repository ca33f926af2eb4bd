// A server in this process: a tiny model with a chat template and two plans, an engine with F32
// keys and values, its loop, and HTTP on a free port. Everything ends with the fixture.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/http_server.h"
#include "support/engine_runs.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {

// Known to libllama's list of forms too, for builds that run no templates.
constexpr const char *k_chatml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

struct ServerSetting {
    int n_sequences = 4;
    int n_ctx = 256;
    LoopOptions loop;
    HttpOptions http;
    bool is_open = true;
};

class RunningServer {
 public:
    explicit RunningServer(ServerSetting setting = {}) {
        TinyModel tiny = tiny_llama_gqa_tied();
        tiny.chat_template = k_chatml;
        model_ = load_tiny(tiny);
        Plan plan = select_plan(n_layers(), {1}, 0.4);
        plan.name = "p.json";
        Plan twenty = select_plan(n_layers(), {1, 2}, 0.5);
        twenty.name = "twenty.json";
        Plan for_prompts = twenty;
        for_prompts.apply = Apply::prefill;
        for_prompts.keep_last = 4;
        plans_.emplace(
            *model_, "tiny",
            std::vector<ServedPlan>{{"p.json", {}, plan, plan}, {"20%", 0.2, for_prompts, twenty}});
        options_ = test_options();
        options_.n_sequences = setting.n_sequences;
        options_.n_ctx = setting.n_ctx;
        engine_.emplace(*model_, options_);
        loop_.emplace(*engine_, setting.loop);
        setting.http.port = 0;
        http_.emplace(setting.http);
        http_->start();
        if (setting.is_open) {
            open();
        }
    }
    ~RunningServer() {
        http_->stop();
        loop_.reset();
    }

    void open() { http_->open({served(), *loop_, engine_->memory()}); }
    ServedModel served() const { return {*model_, *plans_, options_.n_ctx, 1}; }
    int n_layers() const { return model_->hparams().n_layers; }
    const Model &model() const { return *model_; }
    const EngineOptions &engine_options() const { return options_; }
    EngineLoop &loop() { return *loop_; }
    const LoopCounters &counters() const { return loop_->counters(); }
    HttpServer &http() { return *http_; }

    httplib::Client client() const {
        httplib::Client client("127.0.0.1", http_->port());
        client.set_read_timeout(60);
        return client;
    }
    httplib::Result post(const std::string &path, const std::string &body) const {
        return client().Post(path, body, "application/json");
    }
    // Expects 200.
    nlohmann::json ask(const std::string &path, const nlohmann::json &body) const {
        const httplib::Result result = post(path, body.dump());
        EXPECT_TRUE(result) << httplib::to_string(result.error());
        EXPECT_EQ(result->status, 200) << result->body;
        return nlohmann::json::parse(result->body);
    }
    nlohmann::json complete(const nlohmann::json &body) const {
        return ask("/v1/completions", body);
    }
    // The error object of a refusal with this status.
    nlohmann::json refused(int status, const std::string &path, const std::string &body) const {
        const httplib::Result result = post(path, body);
        EXPECT_TRUE(result) << httplib::to_string(result.error());
        EXPECT_EQ(result->status, status) << body.substr(0, 200) << ": " << result->body;
        const nlohmann::json json = nlohmann::json::parse(result->body, nullptr, false);
        EXPECT_TRUE(json.contains("error")) << result->body;
        return json["error"];
    }
    nlohmann::json refused(int status, const nlohmann::json &body) const {
        return refused(status, "/v1/completions", body.dump());
    }
    // Does it still give a right answer?
    void expect_alive() const {
        const nlohmann::json answer =
            complete({{"prompt", "the"}, {"max_tokens", 3}, {"temperature", 0}});
        EXPECT_EQ(answer["choices"].size(), 1u);
    }

 private:
    std::unique_ptr<Model> model_;
    std::optional<PlanTable> plans_;
    EngineOptions options_;
    std::optional<Engine> engine_;
    std::optional<EngineLoop> loop_;
    std::optional<HttpServer> http_;
};

// Waits for what another thread brings about; false after half a minute.
template <typename Function>
bool comes_true(Function is_true) {
    for (int i = 0; i < 6000 && !is_true(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return is_true();
}

// The JSON of a stream's events; "[DONE]" has to be the last.
inline std::vector<nlohmann::json> events_of(const std::string &body) {
    std::vector<nlohmann::json> events;
    size_t at = 0;
    bool is_done = false;
    while (at < body.size()) {
        const size_t end = body.find("\n\n", at);
        EXPECT_NE(end, std::string::npos);
        EXPECT_EQ(body.substr(at, 6), "data: ");
        EXPECT_FALSE(is_done) << "nothing follows [DONE]";
        const std::string data = body.substr(at + 6, end - at - 6);
        is_done = data == "[DONE]";
        if (!is_done) {
            events.push_back(nlohmann::json::parse(data));
        }
        at = end + 2;
    }
    EXPECT_TRUE(is_done);
    return events;
}

}  // namespace orthorank::test
