// What a request asks for is what it gets: stop strings, log-probabilities, hidden states, tokens
// behind those of another.
#include "session/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "session/log_probs.h"
#include "session/session_fixture.h"
#include "support/compare.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

using testing::ElementsAreArray;

class RequestTest : public SessionFixture {};

TEST_F(RequestTest, TheAnswerEndsBeforeAStopString) {
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

TEST_F(RequestTest, TellsThatItsTokensAreReadBeforeThoseThatFollow) {
    Request request = this->request(300, 62, 3, selecting());
    request.tells_read = true;
    std::vector<Event> events;
    const RequestResult result =
        run_request(*engine_, request, [&](const Event &event) { events.push_back(event); });
    ASSERT_EQ(events.size(), 5u);
    EXPECT_EQ(events.front().kind, Event::Kind::read);
    EXPECT_EQ(events.back().kind, Event::Kind::finished);
    const std::vector<TokenLogProb> &told = events.front().result.target_log_probs;
    ASSERT_EQ(told.size(), result.target_log_probs.size());
    for (size_t i = 0; i < told.size(); ++i) {
        EXPECT_EQ(told[i].log_prob, result.target_log_probs[i].log_prob);
    }
}

// As evaluation computes them: the logits of one pass, and the same function over them.
TEST_F(RequestTest, LogProbabilitiesOfThePromptAreThoseOfItsLogits) {
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
TEST_F(RequestTest, RowsBehindThePromptAreReadAsDecodedOnes) {
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

TEST_F(RequestTest, ARequestGoesOnBehindAnother) {
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

TEST_F(RequestTest, ForcedTokensAreTakenInsteadOfSampled) {
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

TEST_F(RequestTest, HiddenStatesAreThoseOfATap) {
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

TEST_F(RequestTest, TheContextEndsAnAnswer) {
    options_.n_ctx = 12;
    const RequestResult found = alone([&] {
        Request request = dense(10, 121, 0);
        request.forced = random_tokens(8, 122);
        return request;
    }());
    EXPECT_EQ(found.stop_reason, StopReason::context);
    EXPECT_EQ(found.tokens.size(), 3u) << "the last one needs no room";
}

}  // namespace
}  // namespace orthorank::test
