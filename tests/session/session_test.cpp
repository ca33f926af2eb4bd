// Many requests on one engine: each gets what it would get alone, nobody waits for a long prompt,
// and what goes wrong with one is nobody else's.
#include "session/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "session/session_fixture.h"
#include "support/errors.h"
#include "support/memory_limit.h"

namespace orthorank::test {
namespace {

using testing::ElementsAreArray;

class SessionTest : public SessionFixture {};

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

// Of two in one pass: the other one waited for ever.
TEST_F(SessionTest, WhatIsNoFailureOfARequestStopsOne) {
    Request a = dense(5, 51, 10);
    a.on_logits = [](const LogitsBlock &) { throw std::runtime_error("Ctrl-C"); };
    const Request b = dense(6, 52, 10);
    Session session(*engine_);
    const RequestId id_a = session.submit(a);
    const RequestId id_b = session.submit(b);
    EXPECT_THROW(session.step(), std::runtime_error);
    for (int i = 0; i < 100 && !session.is_idle(); ++i) {
        take(session.step());
    }
    EXPECT_TRUE(session.is_idle());
    EXPECT_EQ(failures_, (std::map<RequestId, std::string>{{id_a, "stopped"}}));
    expect_same(results_.at(id_b), alone(b));
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
