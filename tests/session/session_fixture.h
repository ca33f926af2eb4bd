// For tests of sessions: a tiny model's engine with four sequences and chunks of 32 rows, requests,
// and what came of them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "session/session.h"
#include "support/engine_runs.h"

namespace orthorank::test {

class SessionFixture : public testing::Test {
 protected:
    SessionFixture() {
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
        EXPECT_THAT(found.tokens, testing::ElementsAreArray(expected.tokens));
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

}  // namespace orthorank::test
