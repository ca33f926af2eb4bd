// Many requests on one engine: each gets what it would get alone, nobody waits for a long prompt,
// and what goes wrong with one is nobody else's.
#include "session/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <utility>

#include "session/log_probs.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/memory_limit.h"

namespace orthorank::test {
namespace {

using testing::ElementsAreArray;

class SessionTest : public testing::Test {
 protected:
    SessionTest() {
        options_ = test_options();
        options_.n_sequences = 4;
        options_.chunk_rows = 32;
        engine_.emplace(model_, options_);
    }

    // A prompt and what follows of it, greedily, with log-probabilities of all of it.
    Request request(int n_prompt, uint64_t seed, int64_t n_new, const Plan &plan) const {
        Request request;
        request.plan = plan;
        request.tokens = random_tokens(n_prompt, seed);
        request.max_new_tokens = n_new;
        request.sampler.temperature = 0;
        request.targets.assign(request.tokens.begin() + 1, request.tokens.end());
        request.targets.push_back(-1);
        request.wants_log_probs = true;
        return request;
    }
    Request dense(int n_prompt, uint64_t seed, int64_t n_new) const {
        return request(n_prompt, seed, n_new, dense_plan(n_layers_));
    }
    Plan selecting() const { return select_plan(n_layers_, {1, 4}, 0.4); }

    RequestResult alone(const Request &request) const {
        Engine engine(model_, options_);
        return run_request(engine, request);
    }

    // Steps until all are finished; the results and, in order, whose tokens came.
    void drain(Session &session) {
        while (!session.is_idle()) {
            take(session.step());
        }
    }
    void take(std::vector<Event> events) {
        for (Event &event : events) {
            EXPECT_EQ(results_.count(event.request) + failures_.count(event.request), 0u)
                << "nothing follows the end";
            if (event.kind == Event::Kind::token) {
                order_.push_back(event.request);
            } else if (event.kind == Event::Kind::finished) {
                results_[event.request] = std::move(event.result);
            } else {
                failures_[event.request] = event.message;
            }
        }
    }

    static void expect_same(const RequestResult &found, const RequestResult &expected) {
        EXPECT_THAT(found.tokens, ElementsAreArray(expected.tokens));
        EXPECT_EQ(found.text, expected.text);
        EXPECT_EQ(found.stop_reason, expected.stop_reason);
        EXPECT_EQ(found.n_rows_offered, expected.n_rows_offered);
        EXPECT_EQ(found.n_rows_computed, expected.n_rows_computed);
        expect_close(found.target_log_probs, expected.target_log_probs);
        expect_close(found.log_probs, expected.log_probs);
    }
    static void expect_close(const std::vector<TokenLogProb> &found,
                             const std::vector<TokenLogProb> &expected) {
        ASSERT_EQ(found.size(), expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
            EXPECT_NEAR(found[i].log_prob, expected[i].log_prob, 1e-4);
        }
    }

    const Model &model_ = fixture_model("tiny-llama-gqa");
    const int n_layers_ = model_.hparams().n_layers;
    EngineOptions options_;
    std::optional<Engine> engine_;
    std::map<RequestId, RequestResult> results_;
    std::map<RequestId, std::string> failures_;
    std::vector<RequestId> order_;
};

TEST_F(SessionTest, ALongPromptWaitsWhileOthersDecode) {
    for (const Plan &plan : {dense_plan(n_layers_), selecting()}) {
        results_.clear();
        order_.clear();
        const Request a = dense(5, 1, 60);
        const Request b = request(7, 2, 60, selecting());
        const Request c = request(300, 3, 4, plan);
        Session session(*engine_);
        const RequestId id_a = session.submit(a);
        const RequestId id_b = session.submit(b);
        take(session.step());
        ASSERT_THAT(order_, ElementsAreArray({id_a, id_b}));
        const RequestId id_c = session.submit(c);
        order_.clear();
        // Ten chunks of rows in each segment, one a step; a token of each of the others in each.
        const size_t n_graphs = 10 * (plan.is_dense() ? 1 : 3);
        for (size_t i = 0; i + 1 < n_graphs; ++i) {
            const size_t n_before = order_.size();
            take(session.step());
            ASSERT_EQ(order_.size(), n_before + 2) << "step " << i;
            ASSERT_EQ(order_[n_before], id_a);
            ASSERT_EQ(order_[n_before + 1], id_b);
        }
        drain(session);
        EXPECT_NE(std::find(order_.begin(), order_.end(), id_c), order_.end());
        expect_same(results_.at(id_a), alone(a));
        expect_same(results_.at(id_b), alone(b));
        expect_same(results_.at(id_c), alone(c));
    }
}

TEST_F(SessionTest, RaggedPlansShareSteps) {
    std::vector<Request> requests = {
        dense(9, 11, 12),
        request(14, 12, 20, selecting()),
        request(3, 13, 9, skip_plan(n_layers_, {2})),
        request(1, 14, 15, select_plan(n_layers_, {2}, 0.5, "norm-up")),
        request(40, 15, 7, selecting()),  // longer than what is shared
        request(6, 16, 30, completed(select_plan(n_layers_, {3}, 0.3), model_.hparams().n_embd, 2)),
    };
    requests[1].plan.apply = Apply::prefill;
    requests[3].plan.apply = Apply::decode;
    Session session(*engine_);
    std::vector<RequestId> ids;
    for (const Request &request : requests) {
        ids.push_back(session.submit(request));
    }
    EXPECT_EQ(session.n_queued(), 2u) << "four sequences";
    drain(session);
    for (size_t i = 0; i < ids.size(); ++i) {
        SCOPED_TRACE(i);
        expect_same(results_.at(ids[i]), alone(requests[i]));
    }
    EXPECT_EQ(engine_->n_free_sequences(), 4);
}

TEST_F(SessionTest, TwoLongPromptsTakeTurns) {
    Session session(*engine_);
    const Request first = dense(400, 21, 2);
    const Request second = dense(100, 22, 2);
    const RequestId id = session.submit(first);
    const RequestId other = session.submit(second);
    drain(session);
    EXPECT_EQ(order_.front(), other) << "the shorter one does not wait for the longer one";
    expect_same(results_.at(id), alone(first));
    expect_same(results_.at(other), alone(second));
}

TEST_F(SessionTest, ACancelledPromptFreesItsSequenceAndNothingElse) {
    const Request a = dense(5, 31, 40);
    const Request b = request(300, 32, 3, selecting());
    Session session(*engine_);
    const RequestId id_a = session.submit(a);
    take(session.step());
    for (const int n_steps : {0, 1, 5, 12}) {
        const RequestId id_b = session.submit(b);
        EXPECT_EQ(engine_->n_free_sequences(), 2);
        for (int i = 0; i < n_steps; ++i) {
            take(session.step());
        }
        session.cancel(id_b);
        EXPECT_EQ(engine_->n_free_sequences(), 3) << n_steps;
        take(session.step());
        EXPECT_EQ(results_.count(id_b) + failures_.count(id_b), 0u);
    }
    const RequestId again = session.submit(b);
    session.cancel(12345);
    drain(session);
    expect_same(results_.at(id_a), alone(a));
    expect_same(results_.at(again), alone(b));
    session.cancel(again);
    EXPECT_TRUE(session.is_idle());
    EXPECT_EQ(engine_->n_free_sequences(), 4);
}

TEST_F(SessionTest, WrongRequestsAreRefusedAndNothingIsTouched) {
    Session session(*engine_);
    const Request good = dense(5, 41, 10);
    const RequestId id = session.submit(good);
    take(session.step());
    const auto refused = [&](ErrorKind kind, const char *message, auto edit) {
        Request wrong = good;
        edit(wrong);
        expect_error(kind, message, [&] { session.submit(wrong); });
        EXPECT_EQ(engine_->n_free_sequences(), 3);
    };
    refused(ErrorKind::request, "token id 288 is outside the vocabulary of 288",
            [](Request &r) { r.tokens[2] = 288; });
    refused(ErrorKind::request, "token id -1", [](Request &r) { r.tokens[0] = -1; });
    refused(ErrorKind::request, "token id 300", [](Request &r) { r.targets[1] = 300; });
    refused(ErrorKind::request, "token id 999", [](Request &r) { r.forced = {1, 999}; });
    refused(ErrorKind::request, "6 targets for 5", [](Request &r) { r.targets.resize(6); });
    refused(ErrorKind::request, "a prompt of 6 of 5", [](Request &r) { r.n_prompt = 6; });
    refused(ErrorKind::request, "stop string is empty", [](Request &r) { r.stop = {"x", ""}; });
    refused(ErrorKind::request, "-2 new tokens", [](Request &r) { r.max_new_tokens = -2; });
    refused(ErrorKind::request, "likeliest", [](Request &r) { r.n_top = 289; });
    refused(ErrorKind::request, "layer boundaries", [](Request &r) { r.boundaries = {3, 1}; });
    refused(ErrorKind::limit, "the prompt has 513 tokens, the context only 512",
            [](Request &r) { r.tokens.resize(513, 1); });
    refused(ErrorKind::usage, "the prompt is empty", [](Request &r) {
        r.tokens.clear();
        r.targets.clear();
    });
    refused(ErrorKind::usage, "temperature", [](Request &r) { r.sampler.temperature = -1; });
    refused(ErrorKind::format, "made for another model",
            [](Request &r) { r.plan = dense_plan(3); });
    refused(ErrorKind::request, "request 77 is not there", [](Request &r) { r.after = 77; });
    refused(ErrorKind::request, "not finished", [&](Request &r) { r.after = id; });
    drain(session);
    expect_same(results_.at(id), alone(good));
    expect_error(ErrorKind::request, "has not kept its sequence", [&] {
        Request wrong = good;
        wrong.after = id;
        session.submit(wrong);
    });
}

// One of several whose pass throws: all run alone then, and only that one fails.
TEST_F(SessionTest, AFailureIsOnlyItsOwn) {
    const Request a = dense(5, 51, 10);
    Request b = dense(6, 52, 10);
    b.on_logits = [](const LogitsBlock &) { fail(ErrorKind::format, "no numbers"); };
    const Request c = request(7, 53, 10, selecting());
    Session session(*engine_);
    const RequestId id_a = session.submit(a);
    take(session.step());
    const RequestId id_b = session.submit(b);
    const RequestId id_c = session.submit(c);
    drain(session);
    EXPECT_EQ(failures_, (std::map<RequestId, std::string>{{id_b, "no numbers"}}));
    expect_same(results_.at(id_a), alone(a));
    expect_same(results_.at(id_c), alone(c));
    EXPECT_EQ(engine_->n_free_sequences(), 4);
}

TEST_F(SessionTest, ShortMemoryEndsOnlyTheRequestThatNeedsIt) {
    if (!can_limit_memory()) {
        GTEST_SKIP() << "memory cannot be limited in this build";
    }
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 2;
    tiny.n_embd = 1024;
    tiny.n_head = 16;
    tiny.n_head_kv = 1;
    tiny.n_ff = 64;
    tiny.n_ctx = 16384;
    const auto model = load_tiny(tiny);
    EngineOptions options = test_options();
    options.n_ctx = tiny.n_ctx;
    options.n_sequences = 2;
    Engine engine(*model, options);
    Request a;
    a.plan = select_plan(tiny.n_layers, {1}, 0.5);
    a.tokens = random_tokens(20, 1);
    a.sampler.temperature = 0;
    a.max_new_tokens = 12;
    Request b = a;
    b.tokens = random_tokens(tiny.n_ctx, 2);
    const RequestResult expected = run_request(engine, a);
    // 16384 rows of 1024 numbers take 64 MiB; graphs that point at the rows before them give back
    // some 40 MiB. So with little more the rows do not fit, and with more the graphs do not.
    for (const auto &[n_bytes, message] : {std::pair(8 << 20, "no memory for the hidden states"),
                                           std::pair(32 << 20, "no memory")}) {
        SCOPED_TRACE(n_bytes);
        failures_.clear();
        results_.clear();
        Session session(engine);
        const RequestId id_a = session.submit(a);
        take(session.step());
        take(session.step());  // its graphs are there before memory is short
        const RequestId id_b = session.submit(b);
        {
            const MemoryLimit limit(static_cast<size_t>(n_bytes));
            take(session.step());
        }
        EXPECT_EQ(failures_.count(id_b), 1u);
        EXPECT_THAT(failures_[id_b], testing::HasSubstr(message));
        EXPECT_EQ(engine.n_free_sequences(), 1);
        drain(session);
        EXPECT_EQ(failures_.size(), 1u);
        EXPECT_THAT(results_[id_a].tokens, ElementsAreArray(expected.tokens));
    }
}

TEST_F(SessionTest, TheAnswerEndsBeforeAStopString) {
    Request request = dense(5, 61, 30);
    const RequestResult whole = alone(request);
    ASSERT_GT(whole.tokens.size(), 6u);
    ASSERT_GT(whole.text.size(), 6u);
    for (size_t first = 0; first + 3 < whole.text.size(); ++first) {
        const std::string stop = whole.text.substr(first, 3);
        if (static_cast<signed char>(stop.front()) < 0 || static_cast<signed char>(stop[1]) < 0 ||
            static_cast<signed char>(stop[2]) < 0) {
            continue;
        }
        request.stop = {"never", stop};
        std::string streamed;
        const RequestResult found =
            run_request(*engine_, request, [&](const Event &event) { streamed += event.text; });
        EXPECT_EQ(found.stop_reason, StopReason::stop);
        EXPECT_EQ(found.text, whole.text.substr(0, whole.text.find(stop)));
        EXPECT_EQ(streamed, found.text);
    }
}

// As evaluation computes them: the logits of one pass, and the same function over them.
TEST_F(SessionTest, LogProbabilitiesOfThePromptAreThoseOfItsLogits) {
    for (const Plan &plan : {dense_plan(n_layers_), selecting()}) {
        Request request = this->request(80, 71, 0, plan);
        Sequence sequence = engine_->new_sequence(plan);
        const Logits logits = run(*engine_, sequence, request.tokens);
        const int n_vocab = model_.hparams().n_vocab;
        std::vector<float> expected(80);
        target_log_probs(logits.data(), n_vocab, request.targets, 1, expected);
        const RequestResult plain = run_request(*engine_, request);
        request.n_top = 5;
        const RequestResult top = run_request(*engine_, request);
        for (size_t i = 0; i < expected.size(); ++i) {
            EXPECT_EQ(plain.target_log_probs[i].log_prob, expected[i]);
            const TokenLogProb &found = top.target_log_probs[i];
            EXPECT_EQ(found.log_prob, expected[i]);
            ASSERT_EQ(found.top.size(), 5u);
            EXPECT_EQ(found.top[0].token,
                      argmax(std::span(logits).subspan(i * static_cast<size_t>(n_vocab),
                                                       static_cast<size_t>(n_vocab))));
            for (size_t k = 0; k < 5; ++k) {
                EXPECT_TRUE(k == 0 || found.top[k].log_prob <= found.top[k - 1].log_prob);
                if (found.top[k].token == request.targets[i]) {
                    EXPECT_EQ(found.top[k].log_prob, found.log_prob);
                }
            }
        }
    }
}

// Rows behind the prompt are those of decode steps: dense where the plan is for the prefill.
TEST_F(SessionTest, RowsBehindThePromptAreReadAsDecodedOnes) {
    Request request = this->request(60, 81, 0, selecting());
    request.plan.apply = Apply::prefill;
    request.n_prompt = 45;
    request.wants_records = true;
    const RequestResult found = alone(request);
    Sequence sequence = engine_->new_sequence(selecting(), Apply::prefill);
    const auto tokens = std::span<const int32_t>(request.tokens);
    Logits logits = run(*engine_, sequence, tokens.first(45));
    const Logits rest = run_steps(*engine_, sequence, tokens.subspan(45));
    logits.insert(logits.end(), rest.begin(), rest.end());
    std::vector<float> expected(60);
    target_log_probs(logits.data(), model_.hparams().n_vocab, request.targets, 1, expected);
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(found.target_log_probs[i].log_prob, expected[i], 1e-4) << i;
    }
    for (const int il : {1, 4}) {
        const LayerRecord &record = found.records[static_cast<size_t>(il)];
        EXPECT_EQ(std::count(record.chosen.begin(), record.chosen.end(), 1), 18);
        EXPECT_EQ(record.chosen.size(), 45u) << "rows behind the prompt are not selected";
    }
}

TEST_F(SessionTest, ARequestGoesOnBehindAnother) {
    Request first = dense(20, 91, 6);
    first.keeps = true;
    Session session(*engine_);
    const RequestId id = session.submit(first);
    drain(session);
    EXPECT_EQ(session.sequence(id)->n_past(), 25);
    EXPECT_EQ(engine_->n_free_sequences(), 3);
    Request second = dense(10, 92, 6);
    second.after = id;
    second.n_keep = 22;
    expect_error(ErrorKind::request, "26 tokens of request 1 are to be kept, it has 25", [&] {
        Request wrong = second;
        wrong.n_keep = 26;
        session.submit(wrong);
    });
    second.keeps = true;
    const RequestId next = session.submit(second);
    EXPECT_EQ(session.sequence(id), nullptr) << "it was taken over";
    drain(session);
    // The same as one prompt.
    Request whole = dense(20, 91, 6);
    whole.tokens.insert(whole.tokens.end(), results_.at(id).tokens.begin(),
                        results_.at(id).tokens.begin() + 2);
    whole.tokens.insert(whole.tokens.end(), second.tokens.begin(), second.tokens.end());
    whole.targets = second.targets;
    const RequestResult expected = alone(whole);
    EXPECT_THAT(results_.at(next).tokens, ElementsAreArray(expected.tokens));
    expect_close(results_.at(next).target_log_probs, expected.target_log_probs);
    session.release(next);
    EXPECT_EQ(engine_->n_free_sequences(), 4);
}

TEST_F(SessionTest, ForcedTokensAreTakenInsteadOfSampled) {
    Request request = dense(10, 101, 0);
    request.forced = random_tokens(8, 102);
    const RequestResult found = alone(request);
    EXPECT_THAT(found.tokens, ElementsAreArray(request.forced));
    EXPECT_EQ(found.n_decoded, 7);
    Sequence sequence = engine_->new_sequence(request.plan);
    run(*engine_, sequence, request.tokens, Outputs::none);
    const Logits logits = run_steps(*engine_, sequence, std::span(request.forced).first(7));
    std::vector<float> expected(7);
    target_log_probs(logits.data(), model_.hparams().n_vocab, std::span(request.forced).subspan(1),
                     1, expected);
    for (size_t i = 0; i < 7; ++i) {
        EXPECT_NEAR(found.log_probs[i + 1].log_prob, expected[i], 1e-4);
    }
}

TEST_F(SessionTest, HiddenStatesAreThoseOfATap) {
    Request request = this->request(70, 111, 1, selecting());
    request.boundaries = {0, 3, n_layers_};
    const RequestResult found = alone(request);
    Sequence sequence = engine_->new_sequence(selecting());
    HiddenTap tap(request.boundaries);
    run(*engine_, sequence, request.tokens, Outputs::all, &tap);
    for (const int boundary : request.boundaries) {
        EXPECT_TRUE(same_bits(found.hidden.at(boundary), tap.hidden(boundary)));
    }
}

TEST_F(SessionTest, TheContextEndsAnAnswer) {
    options_.n_ctx = 12;
    const RequestResult found = alone([&] {
        Request request = dense(10, 121, 0);
        request.forced = random_tokens(8, 122);
        return request;
    }());
    EXPECT_EQ(found.stop_reason, StopReason::context);
    EXPECT_EQ(found.tokens.size(), 3u) << "the last one needs no room";
}

TEST_F(SessionTest, SequencesInUseElsewhereAreSaid) {
    std::vector<Sequence> taken;
    for (int i = 0; i < 4; ++i) {
        taken.push_back(engine_->new_sequence(selecting()));
    }
    expect_error(ErrorKind::limit, "in use elsewhere",
                 [&] { run_request(*engine_, dense(4, 131, 1)); });
}

}  // namespace
}  // namespace orthorank::test
