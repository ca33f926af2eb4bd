#include "support/model_runs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "support/compare.h"

namespace orthorank::test {

Given run_all(const Model &model, const Plan &plan, const EngineOptions &options, Apply apply,
              uint64_t seed) {
    Engine engine(model, options);
    Sequence sequence = engine.new_sequence(plan, apply);
    Given given;
    given.prompt = run(engine, sequence, random_tokens(90, seed));
    given.steps = run_steps(engine, sequence, random_tokens(4, seed + 1));
    for (int il = 0; il < model.hparams().n_layers; ++il) {
        given.records.push_back(sequence.record(il));
    }
    return given;
}

namespace {

constexpr uint64_t k_n_seeds = 16;

// Between a chosen row and another one, over the root mean square of the scores. Infinite where all
// rows are chosen, or none.
double least_gap(const LayerRecord &record) {
    double least = std::numeric_limits<double>::infinity();
    double squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < record.scores.size(); ++i) {
        const double score = record.scores[i];
        if (!std::isfinite(score)) {
            continue;
        }
        squares += score * score;
        ++n;
        for (size_t j = 0; j < i; ++j) {
            if (record.chosen[i] != record.chosen[j] && std::isfinite(record.scores[j])) {
                least = std::min(least, std::fabs(score - double{record.scores[j]}));
            }
        }
    }
    return least / std::sqrt(squares / static_cast<double>(std::max<size_t>(1, n)));
}

}  // namespace

ClearText clearest_text(const Model &model, const Plan &plan, const EngineOptions &options,
                        Apply apply) {
    ClearText best;
    double widest = -1;
    for (uint64_t seed = 1; seed <= k_n_seeds; ++seed) {
        Given given = run_all(model, plan, options, apply, seed);
        double gap = std::numeric_limits<double>::infinity();
        for (const LayerRecord &record : given.records) {
            gap = std::min(gap, least_gap(record));
        }
        if (gap > widest) {
            widest = gap;
            best = {seed, std::move(given)};
        }
        if (std::isinf(gap)) {
            break;
        }
    }
    return best;
}

Logits run_from(Engine &engine, Sequence &sequence, std::span<const float> hidden, int layer) {
    Chunk chunk = chunk_of(sequence, {});
    chunk.hidden = hidden;
    ForwardOptions options;
    options.first_layer = layer;
    return run_batch(engine, std::span(&chunk, 1), options).front();
}

StoppedRun stop_and_go_on(const Model &model, const EngineOptions &options, const Plan &plan,
                          int layer) {
    Engine engine(model, options);
    Sequence sequence = engine.new_sequence(plan);
    HiddenTap tap({layer});
    StoppedRun runs;
    runs.straight = run(engine, sequence, random_tokens(60, 6), Outputs::all, &tap);
    sequence.clear();
    runs.resumed = run_from(engine, sequence, tap.hidden(layer), layer);
    return runs;
}

void expect_same(const Given &found, const Given &expected, double limit, double score_tolerance) {
    EXPECT_TRUE(nmse_below(limit, found.prompt, expected.prompt));
    EXPECT_TRUE(nmse_below(limit, found.steps, expected.steps));
    for (size_t il = 0; il < expected.records.size(); ++il) {
        EXPECT_TRUE(same_record(found.records[il], expected.records[il], score_tolerance)) << il;
    }
}

Plan selecting_plan(const Model &model, const std::string &policy) {
    const Hparams &hparams = model.hparams();
    return completed(select_plan(hparams.n_layers, {1, hparams.n_layers - 1}, 0.4, policy, 3),
                     hparams.n_embd, 4);
}

PolicyRun policy_run(const Model &model, const std::string &policy) {
    PolicyRun result{selecting_plan(model, policy)};
    LayerPlan &first = result.plan.layers[1];
    if (policy == "inherit") {
        first.policy = policy_from_name("orthogonal");
    }
    result.apply = needs_whole_prompt(first.policy.score) ? Apply::prefill : Apply::both;
    return result;
}

namespace {

struct Member {
    Plan plan;
    int n_tokens = 0;
};

}  // namespace

std::vector<Logits> run_together(const Model &model) {
    const int n = model.hparams().n_layers;
    const std::vector<Member> members = {{dense_plan(n), 33},
                                         {select_plan(n, {1, 2}, 0.333), 71},
                                         {skip_plan(n, {1}), 7},
                                         {selecting_plan(model, "cosine"), 40}};
    EngineOptions options = test_options();
    options.n_sequences = static_cast<int>(members.size());
    options.chunk_rows = 50;
    Engine engine(model, options);
    std::vector<Sequence> sequences;
    std::vector<std::vector<int32_t>> tokens;
    for (const Member &member : members) {
        sequences.push_back(engine.new_sequence(member.plan));
        tokens.push_back(random_tokens(member.n_tokens, static_cast<uint64_t>(member.n_tokens)));
    }
    std::vector<Logits> all;
    const auto forward = [&](size_t end, size_t n_rows) {
        std::vector<Chunk> batch;
        for (size_t i = 0; i < end; ++i) {
            const auto rows = std::span(tokens[i]).first(n_rows > 0 ? n_rows : tokens[i].size());
            batch.push_back(
                chunk_of(sequences[i], rows, n_rows > 0 ? Phase::decode : Phase::prefill));
        }
        if (end < members.size()) {
            batch.push_back(chunk_of(sequences[end], tokens[end]));
        }
        const std::vector<Logits> logits = run_batch(engine, batch);
        all.insert(all.end(), logits.begin(), logits.end());
    };
    forward(3, 0);
    forward(4, 1);
    forward(3, 1);
    sequences.pop_back();
    Sequence copy = engine.fork(sequences[1]);
    all.push_back(run_steps(engine, copy, random_tokens(3, 9)));
    return all;
}

}  // namespace orthorank::test
