// Who is let in, and what a server says while it begins and ends.
#include <future>

#include "base/stopwatch.h"
#include "server/raw_client.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(Gates, KeysAndWhatNeedsNone) {
    ServerSetting setting;
    setting.http.keys = {"secret", "other"};
    const RunningServer server(setting);
    httplib::Client client = server.client();
    EXPECT_EQ(client.Get("/v1/models")->status, 401);
    EXPECT_EQ(client.Get("/health")->status, 200);
    EXPECT_EQ(client.Get("/metrics")->status, 200);
    for (const char *key : {"", "secre", "secrets", "Secret"}) {
        client.set_bearer_token_auth(key);
        EXPECT_EQ(client.Get("/v1/models")->status, 401) << key;
        EXPECT_EQ(client.Post("/v1/completions", "{}", "application/json")->status, 401);
    }
    for (const char *key : {"secret", "other"}) {
        client.set_bearer_token_auth(key);
        EXPECT_EQ(client.Get("/v1/models")->status, 200) << key;
    }
    EXPECT_FALSE(client.Get("/v1/models")->has_header("Access-Control-Allow-Origin"));
}

TEST(Gates, AnotherHostNeedsAKey) {
    HttpOptions options;
    options.host = "0.0.0.0";
    options.port = 0;
    expect_error(ErrorKind::usage, "--api-key", [&] { HttpServer server(options); });
    options.keys = {"k"};
    const HttpServer server(options);
    EXPECT_GT(server.port(), 0);
    options.port = server.port();
    expect_error(ErrorKind::device, "cannot listen", [&] { HttpServer again(options); });
}

// As when the model cannot be loaded: the listening thread may not have begun yet.
TEST(Gates, AServerThatIsStoppedAtOnceEndsAndFreesItsPort) {
    HttpOptions options;
    options.port = 0;
    for (int i = 0; i < 200; ++i) {
        HttpServer server(options);
        options.port = server.port();
        if (i % 2 == 0) {
            server.start();
        }
    }
}

TEST(Gates, ARequestThatNeverComesDoesNotKeepAServerFromItsEnd) {
    RunningServer server;
    const RawClient client(server);
    client.send("POST /v1/comple");
    server.expect_alive();
    const Stopwatch watch;
    server.http().stop();
    EXPECT_LT(watch.elapsed_s(), 20.0) << "five are for answers on their way, thirty for a request";
}

TEST(Gates, MetricsHaveNoContent) {
    const RunningServer server;
    server.complete({{"prompt", "xylophone"}, {"max_tokens", 3}, {"orthorank", {{"plan", "p"}}}});
    const std::string text = server.client().Get("/metrics")->body;
    EXPECT_THAT(text, HasSubstr("\northorank_requests_total 1\n"));
    EXPECT_THAT(text, HasSubstr("\northorank_generated_tokens_total 3\n"));
    EXPECT_THAT(text, Not(HasSubstr("xyl")));
    ServerSetting setting;
    setting.http.has_metrics = false;
    const RunningServer silent(setting);
    EXPECT_EQ(silent.client().Get("/metrics")->status, 404);
}

TEST(Gates, AServerThatLoadsOrEndsSaysSo) {
    ServerSetting setting = long_context();
    setting.is_open = false;
    RunningServer server(setting);
    EXPECT_EQ(server.client().Get("/health")->status, 503);
    EXPECT_EQ(server.refused(503, json{{"prompt", "a"}})["code"], "loading");
    server.open();
    EXPECT_EQ(server.client().Get("/health")->status, 200);
    auto running = std::async(std::launch::async,
                              [&] { return server.post("/v1/completions", endless().dump()); });
    ASSERT_TRUE(comes_true([&] { return server.counters().n_sequences_now == 1; }));
    server.loop().drain();
    EXPECT_EQ(server.refused(503, json{{"prompt", "a"}})["code"], "shutting_down");
    server.loop().abort(ApiError(503, "shutting_down", "it ends"));
    const httplib::Result result = running.get();
    EXPECT_EQ(result->status, 503);
    EXPECT_THAT(result->body, HasSubstr("it ends"));
}

}  // namespace
}  // namespace orthorank::test
