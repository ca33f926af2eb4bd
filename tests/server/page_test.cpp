// The page at GET / as the server gives it, and the map that answers bring to it. What a browser
// makes of it: tests/clients.
#include <regex>
#include <set>

#include "report/trace_map.h"
#include "server/server_fixture.h"
#include "support/markup.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::set<std::string> all_matches(const std::string &text, const std::regex &pattern) {
    std::set<std::string> found;
    for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
        found.insert((*it)[1]);
    }
    return found;
}

TEST(Page, IsServedWithAPolicyThatKnowsItsScriptAlone) {
    ServerSetting setting;
    setting.http.keys = {"secret"};
    const RunningServer server(setting);
    std::set<std::string> nonces;
    for (int i = 0; i < 2; ++i) {
        const httplib::Result page = server.client().Get("/");
        ASSERT_EQ(page->status, 200) << "without a key: it asks for one";
        EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
        EXPECT_EQ(page->get_header_value("X-Content-Type-Options"), "nosniff");
        const std::string policy = page->get_header_value("Content-Security-Policy");
        for (const char *part : {"default-src 'none'", "connect-src 'self'",
                                 "frame-ancestors 'none'", "base-uri 'none'"}) {
            EXPECT_THAT(policy, HasSubstr(part));
        }
        std::smatch match;
        static const std::regex of_script("<script nonce=\"([0-9a-f]{32})\">");
        ASSERT_TRUE(std::regex_search(page->body, match, of_script));
        EXPECT_THAT(policy, HasSubstr("script-src 'nonce-" + match[1].str() + "'"));
        nonces.insert(match[1]);
        EXPECT_THAT(page->body, Not(HasSubstr("{{")));
    }
    EXPECT_EQ(nonces.size(), 2u) << "another one for each answer";
    EXPECT_EQ(server.client().Post("/", "{}", "application/json")->status, 405);
}

TEST(Page, IsThereWhileTheModelIsBeingLoaded) {
    ServerSetting setting;
    setting.is_open = false;
    EXPECT_EQ(RunningServer(setting).client().Get("/")->status, 200);
}

TEST(Page, NeedsNothingFromElsewhereAndNamesItsOwnParts) {
    const RunningServer server;
    const std::string page = server.client().Get("/")->body;
    EXPECT_THAT(all_matches(page, std::regex("(https?:|//[a-z]+\\.|\\bsrc=|url\\(|@import)")),
                IsEmpty());
    EXPECT_THAT(all_matches(page, std::regex("href=\"([^\"]*)\"")), testing::ElementsAre("data:,"));
    const std::set<std::string> ids = all_matches(page, std::regex("\\bid=\"([a-z-]+)\""));
    EXPECT_GT(ids.size(), 15u);
    EXPECT_THAT(all_matches(page, std::regex("\\$\\('([a-z-]+)'\\)")), testing::IsSubsetOf(ids));
    EXPECT_THAT(all_matches(page, std::regex("for=\"([a-z-]+)\"")), testing::IsSubsetOf(ids));
}

json mapped(const std::vector<int32_t> &ids, int n_new) {
    return {{"prompt", ids},
            {"max_tokens", n_new},
            {"temperature", 0},
            {"orthorank", {{"plan", "p"}, {"map", true}}}};
}

size_t n_cells(const json &drawings) {
    size_t n = 0;
    for (const json &drawing : drawings) {
        for (const MarkupElement &element : read_markup(drawing.get<std::string>())) {
            n += element.name == "title" && element.parent == "rect" ? 1 : 0;
        }
    }
    return n;
}

TEST(Map, OfAnAnswerIsTheOneThatTraceDraws) {
    const RunningServer server;
    const std::vector<int32_t> ids = random_tokens(50, 4);
    const json choice = server.complete(mapped(ids, 4))["choices"][0];
    TraceOptions options;
    options.plan = select_plan(server.n_layers(), {1}, 0.4);
    options.plan.name = "p.json";
    options.n_decode = 3;
    Engine engine(server.model(), server.engine_options());
    const TraceResult expected = trace(engine, ids, options);
    const json &map = choice["orthorank"]["map"];
    EXPECT_EQ(map["drawings"].get<std::vector<std::string>>(), trace_maps(expected));
    EXPECT_EQ(map["legend"], trace_map_legend(expected));
    EXPECT_EQ(n_cells(map["drawings"]), 53u);
    EXPECT_FALSE(choice["orthorank"].contains("tokens")) << "the trace was not asked for";
    for (const json &drawing : map["drawings"]) {
        EXPECT_TRUE(is_sound_svg(drawing));
    }
}

TEST(Map, ComesWithTheLastPieceOfAStream) {
    const RunningServer server;
    json body = mapped(random_tokens(9, 4), 5);
    const json whole = server.complete(body)["choices"][0]["orthorank"]["map"];
    body["stream"] = true;
    const std::vector<json> events = events_of(server.post("/v1/completions", body.dump())->body);
    EXPECT_EQ(events.back()["choices"][0]["orthorank"]["map"], whole);
    EXPECT_FALSE(events.front()["choices"][0].contains("orthorank"));
}

TEST(Map, HasNoMoreTokensThanItsLimit) {
    ServerSetting setting;
    setting.n_ctx = 2048;
    const RunningServer server(setting);
    const int n = static_cast<int>(k_max_map_tokens) + 100;
    const json map =
        server.complete(mapped(random_tokens(n, 4), 1))["choices"][0]["orthorank"]["map"];
    EXPECT_EQ(n_cells(map["drawings"]), k_max_map_tokens);
    EXPECT_THAT(map["legend"].get<std::string>(), HasSubstr("The first 1024 are shown."));
}

TEST(Map, OfADensePassIsEmpty) {
    const RunningServer server;
    json body = mapped(random_tokens(9, 4), 1);
    body["orthorank"].erase("plan");
    const json map = server.complete(body)["choices"][0]["orthorank"]["map"];
    EXPECT_THAT(map["drawings"], IsEmpty());
}

}  // namespace
}  // namespace orthorank::test
