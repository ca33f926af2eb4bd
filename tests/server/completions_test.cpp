// What completions and chats answer: equal to scoring, to the engine alone, and to each other,
// whoever else is served.
#include <future>
#include <set>

#include "evaluation/choice_eval.h"
#include "server/server_fixture.h"
#include "session/trace.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json as_harness(const std::vector<int32_t> &ids) {
    return {{"model", "tiny"},  {"prompt", json::array({ids})},
            {"temperature", 0}, {"max_tokens", 1},
            {"logprobs", 1},    {"seed", 1234},
            {"echo", true}};
}

// log p of the ids behind the first n_context, as `eval --apply both` sums it.
double scored(const RunningServer &server, const Plan &plan, const std::vector<int32_t> &ids,
              size_t n_context) {
    Engine engine(server.model(), server.engine_options());
    ScoringInput input;
    input.ids.assign(ids.begin(), ids.end() - 1);
    input.targets.assign(ids.begin() + static_cast<std::ptrdiff_t>(n_context), ids.end());
    const std::vector<DocumentInputs> documents = {{input}};
    return choice_log_likelihoods(engine, std::span(&plan, 1), documents)[0][0][0];
}

// As the harness reads an answer: the sum over the continuation, and whether it is the greedy one.
double harness_sum(const json &choice, size_t n_context) {
    const json &values = choice["logprobs"]["token_logprobs"];
    double sum = 0;
    for (size_t i = n_context; i + 1 < values.size(); ++i) {
        sum += values[i].get<double>();
    }
    return sum;
}

TEST(PromptLogProbs, AreThoseOfScoring) {
    const RunningServer server;
    Plan selecting = select_plan(server.n_layers(), {1}, 0.4);
    const std::vector<std::pair<std::string, Plan>> arms = {{"tiny", dense_plan(server.n_layers())},
                                                            {"tiny@p.json", selecting}};
    for (const auto &[name, plan] : arms) {
        for (const int n : {2, 3, 41, 200}) {
            SCOPED_TRACE(name + " " + std::to_string(n));
            const std::vector<int32_t> ids = random_tokens(n, static_cast<uint64_t>(n));
            json body = as_harness(ids);
            body["model"] = name;
            const json choice = server.complete(body)["choices"][0];
            const json &columns = choice["logprobs"];
            ASSERT_EQ(columns["token_logprobs"].size(), ids.size() + 1);
            ASSERT_EQ(columns["top_logprobs"].size(), ids.size() + 1);
            ASSERT_EQ(columns["tokens"].size(), ids.size() + 1);
            EXPECT_TRUE(columns["token_logprobs"][0].is_null());
            EXPECT_TRUE(columns["top_logprobs"][0].is_null());
            const size_t n_context = ids.size() / 2;
            EXPECT_NEAR(harness_sum(choice, n_context), scored(server, plan, ids, n_context),
                        1e-4 * static_cast<double>(ids.size() - n_context));
        }
    }
}

TEST(PromptLogProbs, TheTokensOwnValueIsTheLikeliestsWhereItIsThat) {
    const RunningServer server;
    // A greedy text: each of its tokens is the likeliest one.
    const json made = server.complete({{"prompt", random_tokens(5, 3)},
                                       {"max_tokens", 20},
                                       {"temperature", 0},
                                       {"orthorank", {{"trace", true}}}});
    const auto ids = made["choices"][0]["orthorank"]["tokens"].get<std::vector<int32_t>>();
    ASSERT_GT(ids.size(), 10u);
    const json columns = server.complete(as_harness(ids))["choices"][0]["logprobs"];
    for (size_t i = 1; i < ids.size(); ++i) {
        double best = -1e9;
        for (const auto &[text, value] : columns["top_logprobs"][i].items()) {
            best = std::max(best, value.get<double>());
        }
        const auto own = columns["token_logprobs"][i].get<double>();
        EXPECT_EQ(i >= 5, own == best) << i;
    }
}

TEST(PromptLogProbs, WithABorderTheRowsBehindItAreDense) {
    const RunningServer server;
    const std::vector<int32_t> ids = random_tokens(60, 9);
    json body = as_harness(ids);
    body["orthorank"] = {{"plan", "p"}, {"apply", "prefill"}, {"n_prompt", 40}};
    const json choice = server.complete(body)["choices"][0];
    Plan plan = select_plan(server.n_layers(), {1}, 0.4);
    plan.apply = Apply::prefill;
    EXPECT_NEAR(harness_sum(choice, 40), scored(server, plan, ids, 40), 2e-3);
    plan.apply = Apply::both;
    EXPECT_GT(std::fabs(harness_sum(choice, 40) - scored(server, plan, ids, 40)), 1e-3);
}

TEST(PromptLogProbs, AnAnswerThatEndsAtOnceHasItsEndToken) {
    // Whatever comes next, the columns have one entry more than the prompt.
    const RunningServer server;
    for (uint64_t seed = 0; seed < 30; ++seed) {
        json body = as_harness(random_tokens(3, 100 + seed));
        body["temperature"] = 5;
        body["seed"] = seed;
        const json columns = server.complete(body)["choices"][0]["logprobs"];
        ASSERT_EQ(columns["token_logprobs"].size(), 4u);
        ASSERT_EQ(columns["text_offset"].size(), 4u);
    }
}

TEST(PromptLogProbs, OfOneTokenThereAreNone) {
    const RunningServer server;
    const json values = server.complete(as_harness({42}))["choices"][0]["logprobs"];
    ASSERT_EQ(values["token_logprobs"].size(), 2u);
    EXPECT_TRUE(values["token_logprobs"][0].is_null());
    EXPECT_LT(values["token_logprobs"][1], 0);
}

TEST(Completions, EveryFormOfAPrompt) {
    const RunningServer server;
    const json ids = server.ask("/tokenize", {{"prompt", "the quick"}})["tokens"];
    const json other = server.ask("/tokenize", {{"prompt", "fox"}})["tokens"];
    const auto texts = [&](const json &prompt) {
        const json answer = server.complete(
            {{"prompt", prompt}, {"max_tokens", 6}, {"temperature", 0}, {"echo", false}});
        std::vector<std::string> found;
        for (size_t i = 0; i < answer["choices"].size(); ++i) {
            EXPECT_EQ(answer["choices"][i]["index"], i);
            found.push_back(answer["choices"][i]["text"]);
        }
        return found;
    };
    const std::string first = texts("the quick")[0];
    const std::string second = texts("fox")[0];
    EXPECT_NE(first, second);
    EXPECT_THAT(texts(ids), ElementsAre(first));
    EXPECT_THAT(texts(json::array({"the quick", "fox"})), ElementsAre(first, second));
    EXPECT_THAT(texts(json::array({ids, other})), ElementsAre(first, second));
    EXPECT_THAT(texts(json::array({ids, "fox"})), ElementsAre(first, second));
}

TEST(Completions, TokensUsageAndReasons) {
    const RunningServer server;
    json body = {{"prompt", random_tokens(7, 1)}, {"max_tokens", 9}, {"temperature", 0}};
    const json answer = server.complete(body);
    EXPECT_EQ(answer["object"], "text_completion");
    EXPECT_EQ(answer["model"], "tiny");
    EXPECT_EQ(answer["usage"]["prompt_tokens"], 7);
    EXPECT_EQ(answer["usage"]["completion_tokens"], 9);
    EXPECT_EQ(answer["usage"]["total_tokens"], 16);
    EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
    EXPECT_TRUE(answer["orthorank"]["plan"].is_null());
    body["max_tokens"] = 0;
    const json none = server.complete(body);
    EXPECT_EQ(none["choices"][0]["text"], "");
    EXPECT_EQ(none["usage"]["completion_tokens"], 0);
    body["echo"] = true;
    body["logprobs"] = 2;
    const json echoed = server.complete(body)["choices"][0];
    EXPECT_EQ(echoed["logprobs"]["token_logprobs"].size(), 7u);
    EXPECT_GE(echoed["logprobs"]["top_logprobs"][3].size(), 2u);
}

TEST(Completions, SeveralAnswersAreDrawnByTheSeed) {
    const RunningServer server;
    const json body = {
        {"prompt", "the"}, {"max_tokens", 12}, {"n", 3}, {"seed", 5}, {"temperature", 1.5}};
    const json first = server.complete(body)["choices"];
    ASSERT_EQ(first.size(), 3u);
    std::set<std::string> texts;
    for (const json &choice : first) {
        texts.insert(choice["text"].get<std::string>());
    }
    EXPECT_GT(texts.size(), 1u);
    EXPECT_EQ(server.complete(body)["choices"], first);
}

TEST(Completions, PlansAreNamedInThreeWaysAndRun) {
    const RunningServer server;
    json body = {{"prompt", random_tokens(30, 4)}, {"max_tokens", 5}, {"temperature", 0}};
    body["orthorank"] = {{"plan", "p.json"}};
    const json by_plan = server.complete(body);
    EXPECT_EQ(by_plan["orthorank"]["plan"], "p.json");
    EXPECT_EQ(by_plan["orthorank"]["apply"], "both");
    EXPECT_LT(by_plan["orthorank"]["fraction_of_rows_computed"], 0.7);
    body["orthorank"] = {{"sparsity", "20%"}};
    const json by_sparsity = server.complete(body);
    EXPECT_EQ(by_sparsity["orthorank"]["apply"], "prefill");
    body["orthorank"] = {{"sparsity", 0.2}, {"apply", "both"}};
    EXPECT_EQ(server.complete(body)["orthorank"]["apply"], "both");
    body["orthorank"] = json::object();
    body["model"] = "tiny@20%";
    EXPECT_EQ(server.complete(body)["choices"], by_sparsity["choices"]);
}

TEST(Completions, ATraceIsThatOfTheEngine) {
    const RunningServer server;
    const std::vector<int32_t> ids = random_tokens(24, 8);
    const json choice =
        server.complete({{"prompt", ids},
                         {"max_tokens", 4},
                         {"temperature", 0},
                         {"orthorank", {{"plan", "p"}, {"trace", true}}}})["choices"][0];
    Engine engine(server.model(), server.engine_options());
    TraceOptions options;
    options.plan = select_plan(server.n_layers(), {1}, 0.4);
    options.n_decode = 3;
    const json expected = trace_json(trace(engine, ids, options));
    EXPECT_EQ(choice["orthorank"]["tokens"], expected["tokens"]);
    EXPECT_EQ(choice["orthorank"]["layers"][0]["rows"], expected["layers"][0]["rows"]);
    EXPECT_EQ(choice["orthorank"]["layers"][0]["scores"].size(),
              expected["layers"][0]["scores"].size());
}

TEST(Completions, ATraceAndAMapKnowTheBorderInAPrompt) {
    const RunningServer server;
    json body = {
        {"prompt", random_tokens(100, 8)},
        {"max_tokens", 0},
        {"orthorank",
         {{"plan", "p"}, {"apply", "prefill"}, {"n_prompt", 10}, {"map", true}, {"trace", true}}}};
    const json bordered = server.complete(body)["choices"][0]["orthorank"];
    EXPECT_EQ(bordered["n_prompt"], 10);
    EXPECT_THAT(bordered["map"]["legend"].get<std::string>(),
                HasSubstr("100 tokens, the first 10 as a prompt"));
    EXPECT_EQ(bordered["tokens"].size(), 100u);
    EXPECT_TRUE(bordered["layers"][0]["scores"][10].is_null()) << "the plan does not apply there";
    body["orthorank"].erase("n_prompt");
    EXPECT_EQ(server.complete(body)["choices"][0]["orthorank"]["n_prompt"], 100);
    body["orthorank"].erase("apply");
    body["echo"] = true;
    body["logprobs"] = 0;
    EXPECT_EQ(server.complete(body)["choices"][0]["orthorank"]["n_prompt"], 99)
        << "the last row is no part of what is scored";
}

TEST(Chats, AreCompletionsOfTheTemplatesText) {
    const RunningServer server;
    const json messages = {{{"role", "user"}, {"content", "the fox"}}};
    const json answer = server.ask("/v1/chat/completions", {{"messages", messages},
                                                            {"max_tokens", 8},
                                                            {"temperature", 0},
                                                            {"logprobs", true},
                                                            {"top_logprobs", 2}});
    const json ids = server.ask("/tokenize", {{"messages", messages}})["tokens"];
    const json text =
        server.complete({{"prompt", ids}, {"max_tokens", 8}, {"temperature", 0}, {"logprobs", 2}});
    const json &choice = answer["choices"][0];
    EXPECT_EQ(answer["object"], "chat.completion");
    EXPECT_EQ(choice["message"]["role"], "assistant");
    EXPECT_EQ(choice["message"]["content"], text["choices"][0]["text"]);
    ASSERT_EQ(choice["logprobs"]["content"].size(), 8u);
    for (size_t i = 0; i < 8; ++i) {
        const json &token = choice["logprobs"]["content"][i];
        EXPECT_EQ(token["logprob"], text["choices"][0]["logprobs"]["token_logprobs"][i]);
        EXPECT_EQ(token["top_logprobs"].size(), 2u);
        EXPECT_EQ(token["top_logprobs"][0]["logprob"], token["logprob"]) << "it is greedy";
    }
    const json parts = {
        {{"role", "user"},
         {"content", {{{"type", "text"}, {"text", "the "}}, {{"type", "text"}, {"text", "fox"}}}}}};
    EXPECT_EQ(server.ask("/tokenize", {{"messages", parts}})["tokens"], ids);
}

TEST(TokenRoutes, TextAndIds) {
    const RunningServer server;
    const json info = json::parse(server.client().Get("/tokenizer_info")->body);
    EXPECT_EQ(info["eos_token"], "</s>");
    EXPECT_THAT(info["chat_template"].get<std::string>(), HasSubstr("messages"));
    const json with_bos = server.ask("/tokenize", {{"prompt", "abc"}});
    const json without =
        server.ask("/tokenize", {{"prompt", "abc"}, {"add_special_tokens", false}});
    EXPECT_EQ(with_bos["count"], without["count"].get<int>() + 1);
    EXPECT_EQ(server.ask("/tokenize", {{"content", "abc"}})["tokens"], without["tokens"]);
    const json back = server.ask("/detokenize", {{"tokens", without["tokens"]}});
    EXPECT_EQ(back["prompt"], "abc");
    EXPECT_EQ(back["content"], "abc");
    EXPECT_EQ(server.ask("/tokenize", {{"prompt", "</s>"}, {"add_special_tokens", false}})["tokens"]
                  .size(),
              1u)
        << "how a harness finds the end token's id";
    const json models = json::parse(server.client().Get("/v1/models")->body);
    ASSERT_EQ(models["data"].size(), 3u);
    EXPECT_EQ(models["data"][1]["id"], "tiny@p.json");
}

TEST(Neighbours, DoNotChangeAnAnswer) {
    const RunningServer server;
    std::vector<json> bodies;
    for (uint64_t i = 0; i < 10; ++i) {
        json body = {{"prompt", random_tokens(4 + 19 * static_cast<int>(i), 50 + i)},
                     {"max_tokens", 20},
                     {"temperature", 0},
                     {"logprobs", 1},
                     {"echo", i % 2 == 0}};
        if (i % 3 == 1) {
            body["orthorank"] = {{"plan", "p"}};
        } else if (i % 3 == 2) {
            body["orthorank"] = {{"sparsity", "20%"}};
        }
        bodies.push_back(body);
    }
    std::vector<json> alone;
    for (const json &body : bodies) {
        alone.push_back(server.complete(body));
    }
    std::vector<std::future<json>> together;
    for (const json &body : bodies) {
        together.push_back(
            std::async(std::launch::async, [&server, body] { return server.complete(body); }));
    }
    for (size_t i = 0; i < bodies.size(); ++i) {
        SCOPED_TRACE(i);
        const json found = together[i].get()["choices"][0];
        const json &expected = alone[i]["choices"][0];
        EXPECT_EQ(found["text"], expected["text"]);
        const json &values = found["logprobs"]["token_logprobs"];
        ASSERT_EQ(values.size(), expected["logprobs"]["token_logprobs"].size());
        for (size_t j = 0; j < values.size(); ++j) {
            const json &value = expected["logprobs"]["token_logprobs"][j];
            ASSERT_EQ(values[j].is_null(), value.is_null());
            if (!value.is_null()) {
                EXPECT_NEAR(values[j].get<double>(), value.get<double>(), 1e-4) << j;
            }
        }
    }
}

}  // namespace
}  // namespace orthorank::test
