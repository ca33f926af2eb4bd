// Which types of weights are chosen from given timings, and how the choice is remembered.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/tiny_gguf.h"
#include "timing/weight_choice.h"

namespace orthorank::test {
namespace {

using testing::HasSubstr;

std::vector<WeightTiming> timings() {
    return {{"file", 60, 0.6, 0, 90},
            {"bf16", 20, 0.9, 2e-6, 270},
            {"q8_0", 30, 0.58, 2e-5, 140},
            {"q4_0", 10, 0.3, 8e-3, 76}};
}

TEST(WeightChoiceRule, TakesTheFastestOfEachPhaseThatChangesLittle) {
    EXPECT_EQ(choose_weights(timings(), 1000), (WeightTypes{"bf16", "file"}));
}

TEST(WeightChoiceRule, NeedsAGainOfFivePercent) {
    std::vector<WeightTiming> t = timings();
    t[2].decode_ms = 0.56;  // 0.95 of 0.6 is 0.57
    EXPECT_EQ(choose_weights(t, 1000), (WeightTypes{"bf16", "q8_0"}));
    t[1].prefill_ms = 59;
    t[2].prefill_ms = 58;
    EXPECT_EQ(choose_weights(t, 1000), (WeightTypes{"file", "q8_0"}));
}

TEST(WeightChoiceRule, TakesOneCopyWhereTwoDoNotFit) {
    // 60 + 128 * 0.6 = 136.8, 20 + 128 * 0.9 = 135.2, 30 + 128 * 0.58 = 104.24
    EXPECT_EQ(choose_weights(timings(), 359), (WeightTypes{"q8_0", "q8_0"}));
    EXPECT_EQ(choose_weights(timings(), 360), (WeightTypes{"bf16", "file"}));
}

TEST(WeightChoiceRule, LeavesOutATypeThatCannotHoldTheWeights) {
    std::vector<WeightTiming> t = timings();
    t[1] = {"bf16", 0, 0, 0, 0, false};
    EXPECT_EQ(choose_weights(t, 1000), (WeightTypes{"q8_0", "file"}));
}

class RememberedChoice : public testing::Test {
 protected:
    RememberedChoice() { write_tiny_gguf(tiny_llama(), model_); }
    WeightChoice choose(int n_threads = 1) {
        return choose_weights_for(model_, "CPU", n_threads, cache_);
    }
    TempDir dir_;
    std::string model_ = dir_.file("m.gguf");
    std::string cache_ = dir_.file("cache/orthorank/weights.json");
};

TEST_F(RememberedChoice, RoundTrip) {
    const WeightChoice first = choose();
    EXPECT_FALSE(first.is_remembered);
    EXPECT_EQ(first.note, "");
    ASSERT_EQ(first.timings.size(), 5u);  // q4_k needs rows of 256
    EXPECT_EQ(first.timings[0].type, "file");
    EXPECT_EQ(first.timings[0].nmse, 0.0);
    EXPECT_EQ(first.timings[1].type, "bf16");
    EXPECT_EQ(first.timings[1].bytes * 2, first.timings[0].bytes);
    for (const WeightTiming &timing : first.timings) {
        EXPECT_GT(timing.prefill_ms, 0.0);
        EXPECT_GT(timing.decode_ms, 0.0);
    }
    const WeightChoice second = choose();
    EXPECT_TRUE(second.is_remembered);
    EXPECT_EQ(second.timings, first.timings);
    EXPECT_EQ(second.types, first.types);
    EXPECT_FALSE(choose(2).is_remembered);  // other threads, another question
    EXPECT_TRUE(choose().is_remembered);    // which does not drive out the first
}

TEST_F(RememberedChoice, WasTakenForAnotherModelOfTheSameShapes) {
    choose();
    TinyModel other = tiny_llama();
    other.seed = 2;
    write_tiny_gguf(other, model_);
    EXPECT_FALSE(choose().is_remembered);
    other = tiny_llama();
    other.n_layers = 4;  // the layer in the middle is the same, the bytes are not
    write_tiny_gguf(other, model_);
    EXPECT_FALSE(choose().is_remembered);
    write_tiny_gguf(tiny_llama(), model_);
    EXPECT_TRUE(choose().is_remembered);
}

// In any layer: the one that is timed is not all there is.
TEST_F(RememberedChoice, TypesThatMadeWeightsInfiniteWereTimed) {
    TinyFile file = make_tiny_file(tiny_llama());
    file.tensor("blk.0.ffn_up.weight").values[5] = 1e6f;
    file.write(model_);
    for (const bool is_remembered : {false, true}) {
        const WeightChoice choice = choose();
        EXPECT_EQ(choice.is_remembered, is_remembered);
        EXPECT_EQ(choice.note, "");
        ASSERT_EQ(choice.timings.size(), 5u);
        for (const WeightTiming &timing : choice.timings) {
            EXPECT_EQ(timing.can_hold, timing.type == "file" || timing.type == "bf16");
        }
    }
}

TEST_F(RememberedChoice, ABrokenCacheIsIgnoredWithANote) {
    choose();
    const std::string good = read_bytes(cache_);
    std::string unknown_type = good;
    unknown_type.replace(unknown_type.find("bf16"), 4, "zz99");
    std::string other_version = good;
    other_version.replace(other_version.find("\"version\": 2"), 12, "\"version\": 7");
    for (const std::string &text : {good.substr(0, good.size() / 2), unknown_type, other_version}) {
        write_bytes(cache_, text);
        const WeightChoice choice = choose();
        EXPECT_FALSE(choice.is_remembered);
        EXPECT_THAT(choice.note, HasSubstr("is ignored and written anew"));
        EXPECT_TRUE(choose().is_remembered);
    }
}

TEST_F(RememberedChoice, ACacheThatCannotBeWrittenIsNotFatal) {
    write_bytes(dir_.file("cache"), "a file where a folder should be");
    const WeightChoice choice = choose();
    EXPECT_EQ(choice.timings.size(), 5u);
    EXPECT_THAT(choice.note, HasSubstr("cannot be remembered"));
}

}  // namespace
}  // namespace orthorank::test
