// One Model, several engines at once, a thread each: what a server does. `make tsan` runs these
// under the thread sanitizer.
#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "engine/engine.h"
#include "support/compare.h"
#include "support/engine_runs.h"

namespace orthorank::test {
namespace {

struct Work {
    Plan plan;
    std::vector<int32_t> tokens;
};

// Prompts long enough for the attention kernel of many rows, then single steps, twice over.
Logits prompt_and_steps(const Model &model, const Work &work) {
    EngineOptions options = test_options();  // one thread; CpuAttention has more
    options.chunk_rows = 128;
    Engine engine(model, options);
    Sequence sequence = engine.new_sequence(work.plan);
    Logits logits;
    for (int round = 0; round < 2; ++round) {
        sequence.clear();
        for (const Logits &part : {run(engine, sequence, work.tokens, Outputs::last),
                                   run_steps(engine, sequence, std::span(work.tokens).first(5))}) {
            logits.insert(logits.end(), part.begin(), part.end());
        }
    }
    return logits;
}

class SharedModelTest : public testing::TestWithParam<std::string> {};

TEST_P(SharedModelTest, EnginesAtOnceGiveWhatTheyGiveOneByOne) {
    const Model &model = fixture_model(GetParam());
    const int n_layers = model.hparams().n_layers;
    const std::vector<Work> works = {
        {dense_plan(n_layers), random_tokens(200, 1)},
        {completed(select_plan(n_layers, {1, 2}, 0.333), model.hparams().n_embd, 4),
         random_tokens(260, 2)},
    };
    std::vector<Logits> one_by_one;
    for (const Work &work : works) {
        one_by_one.push_back(prompt_and_steps(model, work));
    }
    ASSERT_FALSE(same_bits(one_by_one[0], one_by_one[1])) << "a mix-up would not be seen";

    std::vector<Logits> at_once(works.size());
    std::latch start(static_cast<std::ptrdiff_t>(works.size()));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < works.size(); ++i) {
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            at_once[i] = prompt_and_steps(model, works[i]);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    for (size_t i = 0; i < works.size(); ++i) {
        EXPECT_TRUE(same_bits(at_once[i], one_by_one[i])) << "engine " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, SharedModelTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

}  // namespace
}  // namespace orthorank::test
