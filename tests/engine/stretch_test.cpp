// Passes over some of the layers: two halves are the whole, only what is asked for is seen.
#include "engine/stretch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/engine_runs.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int> boundaries_of(const HiddenStates &states) {
    std::vector<int> boundaries;
    for (const auto &[boundary, hidden] : states) {
        boundaries.push_back(boundary);
    }
    return boundaries;
}

class StretchTest : public testing::Test {
 protected:
    StretchTest() {
        test::TinyModel tiny = test::tiny_llama_gqa_tied();
        tiny.n_layers = 6;
        model_ = test::load_tiny(tiny);
        engine_ = std::make_unique<Engine>(*model_, test::test_options());
        tokens_ = test::random_tokens(40, 7);
    }

    OnLogits collect(std::vector<float> &logits) {
        return [&logits](const LogitsBlock &block) {
            logits.insert(logits.end(), block.logits, block.logits + block.n_rows * block.n_vocab);
        };
    }

    std::unique_ptr<Model> model_;
    std::unique_ptr<Engine> engine_;
    std::vector<int32_t> tokens_;
};

TEST_F(StretchTest, TwoHalvesAreTheWhole) {
    for (const Plan &plan : {test::select_plan(6, {1, 4}, 0.5), test::skip_plan(6, {2, 3})}) {
        std::vector<float> whole;
        HiddenStates states;
        Stretch stretch;
        stretch.tokens = tokens_;
        stretch.boundaries = {3, 5};
        stretch.on_hidden = keep_in(states);
        stretch.on_logits = collect(whole);
        run_stretch(*engine_, plan, stretch);
        EXPECT_EQ(whole.size(), tokens_.size() * static_cast<size_t>(model_->hparams().n_vocab));
        EXPECT_THAT(boundaries_of(states), ElementsAre(3, 5));

        HiddenStates first;
        Stretch half;
        half.end = 3;
        half.tokens = tokens_;
        half.boundaries = {3};
        half.on_hidden = keep_in(first);
        run_stretch(*engine_, plan, half);
        EXPECT_EQ(first.at(3), states.at(3));

        std::vector<float> logits;
        HiddenStates second;
        half = {};
        half.first = 3;
        half.hidden = first.at(3);
        half.boundaries = boundaries_behind(3, 6);
        half.on_hidden = keep_in(second);
        half.on_logits = collect(logits);
        run_stretch(*engine_, plan, half);
        EXPECT_THAT(boundaries_of(second), ElementsAre(4, 5, 6));
        EXPECT_EQ(second.at(5), states.at(5));
        EXPECT_EQ(logits, whole);
    }
}

TEST(Stretch, LayersAreCounted) {
    EXPECT_THAT(boundaries_behind(2, 4), ElementsAre(3, 4));
    EXPECT_THAT(boundaries_behind(4, 4), IsEmpty());
    EXPECT_EQ(n_layers_computed(test::select_plan(6, {1, 4}, 0.5), 0, 6), 6);
    EXPECT_EQ(n_layers_computed(test::skip_plan(6, {2, 3}), 0, 6), 4);
    EXPECT_EQ(n_layers_computed(test::skip_plan(6, {2, 3}), 3, 5), 1);
}

}  // namespace
}  // namespace orthorank
