// A model with one NaN among its weights: no command prints a number, a text or a plan that it made
// of it; those that compute nothing work.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "model/gguf_file.h"
#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using Arguments = std::vector<std::string>;

TinyModel eight_layers() {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 8;
    return tiny;
}

class DamagedModel : public CommandTest {
 protected:
    DamagedModel() : CommandTest(eight_layers()) {
        TinyFile file = make_tiny_file(eight_layers());
        file.tensor("blk.0.attn_norm.weight").values[3] = std::numeric_limits<float>::quiet_NaN();
        file.write(model_);
        std::string text;
        for (int i = 0; i < 12; ++i) {
            text += "the quick brown fox jumps over the lazy dog " + std::to_string(i * i) + "\n";
        }
        write_bytes(text_, text);
        std::filesystem::create_directory(dir_.path() / "piqa");
        write_bytes(dir_.file("piqa/valid.jsonl"),
                    R"({"goal": "go", "sol1": "the dog sleeps", "sol2": "a fox"})"
                    "\n");
        write_bytes(dir_.file("piqa/valid-labels.lst"), "0\n");
        std::filesystem::create_directory(dir_.path() / "longbench");
        write_bytes(dir_.file("longbench/hotpotqa.jsonl"),
                    R"({"input": "who?", "context": "the dog", "answers": ["the dog"],)"
                    R"( "length": 4, "all_classes": null, "_id": "x", "dataset": "hotpotqa"})"
                    "\n");
    }

    Arguments select(const Arguments &more) const {
        Arguments arguments = {"select-layers",
                               "--calibration",
                               text_,
                               "--seqlen",
                               "32",
                               "--windows",
                               "2",
                               "-o",
                               out_};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }

    const std::string text_ = dir_.file("text.txt");
    const std::string out_ = dir_.file("out.json");
};

TEST_F(DamagedModel, ScoresWerePrintedFromLogitsThatAreNoNumbers) {
    const std::string data = dir_.path().string();
    const std::vector<Arguments> commands = {
        {"generate", "-p", "the fox", "-n", "4"},
        {"generate", "-p", "the fox", "-n", "4", "--plan", plan_, "--temp", "0"},
        {"perplexity", "-f", text_, "--ctx", "32"},
        {"perplexity", "-f", text_, "--ctx", "32", "--plan", plan_, "--kl"},
        {"eval", "--data", data, "--tasks", "piqa"},
        {"longbench", "--data", data, "--sets", "hotpotqa", "--output", dir_.file("pred"),
         "--max-length", "200"},
        {"trace", "-p", "the fox", "--plan", plan_},
        {"bench", "--arms", "dense", "--prefill", "20", "--repetitions", "1"},
        {"bench", "--arms", "dense", "--prefill", "20", "--repetitions", "1", "--quality", text_,
         "--quality-ctx", "32"},
        select({"--layers", "1"}),
        select({"--layers", "1", "--race"}),
        select({"--layers", "1", "--method", "shortened-ppl"}),
        select({"--layers", "1", "--method", "shortened-taylor"}),
        {"select-layers", "--refit", plan_, "--correct", "4", "--calibration", text_, "--seqlen",
         "32", "--windows", "2", "-o", out_},
        {"select-layers", "--joint", "--correct", "2", "--kl-windows", "1", "--sparsity", "25%",
         "--calibration", text_, "--seqlen", "32", "--windows", "3", "-o", out_},
    };
    for (const Arguments &command : commands) {
        SCOPED_TRACE(::testing::PrintToString(command));
        expect_failure(1, "since tensor blk.0.attn_norm.weight has some", command);
        EXPECT_FALSE(std::filesystem::exists(out_));
    }
}

TEST_F(DamagedModel, IsDescribedAndCutAsAnyOther) {
    EXPECT_EQ(run({"info"}).exit_code, 0);
    const std::string skip = dir_.file("skip.json");
    write_bytes(skip, plan_text(R"({"index": 0, "action": "skip"})", 8));
    const std::string smaller = dir_.file("smaller.gguf");
    ASSERT_EQ(run({"export", "--plan", skip, "-o", smaller}).exit_code, 0);
    model_ = smaller;
    EXPECT_EQ(run({"perplexity", "-f", text_, "--ctx", "32"}).exit_code, 0) << "the NaN is gone";
}

class OtherModels : public CommandTest {};

// Heads of 16 are no blocks of a Q8_0 cache: said by all that would make one.
TEST_F(OtherModels, AQ80CacheOfNarrowHeadsIsRefused) {
    const std::string part = "a q8_0 KV cache needs head sizes divisible by 32";
    expect_failure(2, part, {"info", "--kv-type", "q8_0"});
    expect_failure(2, part, {"generate", "-p", "a", "--kv-type", "q8_0"});
    expect_failure(2, part,
                   {"bench", "--arms", "libllama", "--prefill", "20", "--kv-type", "q8_0"});
}

// libllama maps a file's tensors where they lie, and its kernels abort when that is not at a
// multiple of 32.
TEST_F(OtherModels, BenchOfAFileOfSmallAlignmentAborted) {
    TinyModel tiny = tiny_llama();
    tiny.name = "odd length:";  // so that the data begins at no multiple of 32
    TinyFile file = make_tiny_file(tiny);
    gguf_set_val_u32(file.meta.get(), "general.alignment", 8);
    file.write(model_);
    ASSERT_FALSE(GgufFile(model_).is_aligned());
    const ProgramResult result =
        run({"bench", "--arms", "libllama,dense", "--prefill", "20", "--repetitions", "1"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(OtherModels, BenchOfLayersThatDifferEndedAfterMeasuring) {
    make_uneven_file(tiny_llama()).write(model_);
    const nlohmann::json result = run_json({"bench", "--arms", "dense," + plan_, "--prefill",
                                            "20,40", "--decode", "2", "--repetitions", "1"});
    EXPECT_GT(result.at("results").at(1).at("speed_up_bound").get<double>(), 1.0);
}

}  // namespace
}  // namespace orthorank::test
