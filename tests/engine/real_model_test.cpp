// The default model, in the types that matter: logits and greedy text against libllama, the loss of
// a text, the PyTorch reference's case with its plan is in reference_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engine/engine.h"
#include "model/vocab.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/libllama_oracle.h"
#include "support/paths.h"
#include "support/real_models.h"

namespace orthorank::test {
namespace {

constexpr int k_n_threads = 2;
constexpr int k_n_ctx = 1024;
const char *const k_text =
    "Once a week the lighthouse keeper rowed across the bay to buy bread, oil and paper. He wrote "
    "down what the sea had done, which ships had passed and how the wind had turned, and when the "
    "book was full he sent it to the harbour office, where a clerk put it on a shelf with all the "
    "others. Nobody had ever asked to read one, until a letter came in the spring of that year. It "
    "said that";

Engine make_engine(const Model &model) {
    EngineOptions options;
    options.kernels = Kernels::exact;
    options.n_ctx = k_n_ctx;
    options.n_threads = k_n_threads;
    return Engine(model, options);
}

struct TypeCase {
    std::string type;
    double nmse_across_shapes = k_nmse_quantised;
    size_t n_greedy = 24;
};

void PrintTo(const TypeCase &type_case, std::ostream *out) {
    *out << type_case.type;
}

class RealModelTest : public testing::TestWithParam<TypeCase> {
 protected:
    void SetUp() override {
        if (!has_default_model()) {
            GTEST_SKIP() << "no default model at " << default_model_path();
        }
    }
};

TEST_P(RealModelTest, LogitsAndGreedyTextAreLibllamas) {
    const std::string path = default_model_as(GetParam().type);
    const auto model = load_on_cpu(path);
    LibllamaOracle oracle(path, k_n_ctx, k_n_threads);
    Engine engine = make_engine(*model);
    Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
    std::vector<int32_t> tokens = model->vocab().tokenize(k_text, false);
    ASSERT_GE(tokens.size(), 80u);
    const std::span<const int32_t> all(tokens);
    EXPECT_TRUE(same_bits(run(engine, sequence, all), oracle.decode(all, true)));

    sequence.clear();
    oracle.clear();
    const auto short_prompt = all.first(12);
    Logits logits = run(engine, sequence, short_prompt, Outputs::last);
    Logits expected = oracle.decode(short_prompt, false);
    EXPECT_TRUE(nmse_below(GetParam().nmse_across_shapes, logits, expected));
    for (size_t i = 0; i < GetParam().n_greedy; ++i) {
        EXPECT_TRUE(same_argmax(logits, expected)) << "token " << i;
        const int32_t next = argmax(expected);
        logits = run_steps(engine, sequence, std::span(&next, 1));
        expected = oracle.decode(std::span(&next, 1), false);
        EXPECT_TRUE(nmse_below(GetParam().nmse_across_shapes, logits, expected)) << "token " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Types, RealModelTest,
                         testing::Values(TypeCase{"Q4_1", k_nmse_quantised, 200}, TypeCase{"Q4_0"},
                                         TypeCase{"Q8_0"}, TypeCase{"BF16", k_nmse_quantised},
                                         TypeCase{"F32", k_nmse_f32}),
                         [](const auto &test) { return test.param.type; });

// The mean negative log-likelihood of tokens[1..] given [n_vocab, n] logits of all of them.
double mean_nll(const Logits &logits, std::span<const int32_t> tokens) {
    const size_t n_vocab = logits.size() / tokens.size();
    double sum = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
        const auto row = std::span(logits).subspan(i * n_vocab, n_vocab);
        double total = 0;
        const double best = row[static_cast<size_t>(argmax(row))];
        for (const float logit : row) {
            total += std::exp(logit - best);
        }
        sum += best + std::log(total) - row[static_cast<size_t>(tokens[i + 1])];
    }
    return sum / static_cast<double>(tokens.size() - 1);
}

TEST(RealTextTest, LossOfAWindowIsLibllamas) {
    const std::string text = wikitext();
    if (!has_default_model() || text.empty()) {
        GTEST_SKIP() << "needs the default model and data/wikitext-2-raw/wiki.test.raw in shared/";
    }
    const auto model = load_on_cpu(default_model_path());
    const int n_layers = model->hparams().n_layers;
    auto tokens = model->vocab().tokenize(text.substr(0, 4000), false);
    tokens.resize(512);
    LibllamaOracle oracle(default_model_path(), k_n_ctx, k_n_threads);
    Engine engine = make_engine(*model);
    double dense = 0;
    {
        Sequence sequence = engine.new_sequence(dense_plan(n_layers));
        const Logits logits = run(engine, sequence, tokens);
        const Logits expected = oracle.decode(tokens, true);
        EXPECT_TRUE(same_bits(logits, expected));
        dense = mean_nll(logits, tokens);
        EXPECT_NEAR(dense, mean_nll(expected, tokens), 1e-9);
    }
    const auto loss_of = [&](const Plan &plan) {
        Sequence sequence = engine.new_sequence(plan);
        return mean_nll(run(engine, sequence, tokens), tokens);
    };
    // Selection costs, but this little; the same layers removed cost more.
    const std::vector<int> layers = {13, 14, 15, 17, 26};
    const double selected = loss_of(select_plan(n_layers, layers, 0.333));
    EXPECT_GT(selected, dense);
    EXPECT_LT(selected, dense + 1.0);
    EXPECT_GT(loss_of(skip_plan(n_layers, layers)), selected);
}

// Another file than the default one, $ORTHORANK_OTHER_MODEL: perplexity of four windows, each BOS
// if its windows begin with it and then text, and 200 greedy tokens behind a prompt.
TEST(RealTextTest, WindowsAndGreedyTextOfAnotherModelAreLibllamas) {
    const char *path = std::getenv("ORTHORANK_OTHER_MODEL");
    const std::string text = wikitext();
    if (path == nullptr || text.empty()) {
        GTEST_SKIP() << "needs a model's path in $ORTHORANK_OTHER_MODEL and "
                        "data/wikitext-2-raw/wiki.test.raw in shared/";
    }
    const auto model = load_on_cpu(path);
    LibllamaOracle oracle(path, k_n_ctx, k_n_threads);
    Engine engine = make_engine(*model);
    Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
    const auto start = model->vocab().window_start();
    const size_t n_text = k_n_ctx - (start ? 1 : 0);
    const auto ids = model->vocab().tokenize_first(4 * n_text, text, !start);
    ASSERT_EQ(ids.size(), 4 * n_text);
    double found = 0;
    double expected = 0;
    for (size_t w = 0; w < 4; ++w) {
        std::vector<int32_t> window(ids.begin() + static_cast<ptrdiff_t>(w * n_text),
                                    ids.begin() + static_cast<ptrdiff_t>((w + 1) * n_text));
        if (start) {
            window.insert(window.begin(), *start);
        }
        sequence.clear();
        oracle.clear();
        found += mean_nll(run(engine, sequence, window), window) / 4;
        expected += mean_nll(oracle.decode(window, true), window) / 4;
    }
    std::printf("perplexity of 4 windows of %d: ours %.5f, libllama's %.5f\n", k_n_ctx,
                std::exp(found), std::exp(expected));
    EXPECT_NEAR(std::exp(found), std::exp(expected), 1e-3 * std::exp(expected));

    std::vector<int32_t> next = model->vocab().tokenize("The river rises in the hills", true);
    sequence.clear();
    oracle.clear();
    for (int i = 0; i < 200; ++i) {
        const Logits ours = run(engine, sequence, next, Outputs::last);
        const Logits theirs = oracle.decode(next, false);
        ASSERT_EQ(argmax(ours), argmax(theirs)) << "token " << i;
        next = {argmax(theirs)};
    }
}

// stories260K (llama2.c) writes the text published with it.
TEST(StoriesTest, GreedyTextIsThePublishedOne) {
    const std::string folder = "models/stories260K/";
    const std::string weights = shared_path(folder + "stories260K.bin");
    if (weights.empty()) {
        GTEST_SKIP() << "needs " << folder << "stories260K.bin in shared/";
    }
    const TempDir dir;
    const std::string gguf = dir.file("stories.gguf");
    const std::string command = std::string("\"") + ORTHORANK_STORIES_TO_GGUF + "\" \"" + weights +
                                "\" \"" + shared_path(folder + "tok512.bin") + "\" \"" + gguf +
                                "\"";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const auto model = load_on_cpu(gguf);
    EngineOptions options = test_options();
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
    int32_t token = model->vocab().bos();
    std::vector<int32_t> written;
    for (int i = 0; i < 200; ++i) {
        const Phase phase = i == 0 ? Phase::prefill : Phase::decode;
        token = argmax(forward_last(engine, sequence, std::span(&token, 1), phase));
        written.push_back(token);
    }
    std::string expected = read_bytes(shared_path(folder + "greedy-200.txt"));
    while (!expected.empty() && expected.back() == '\n') {
        expected.pop_back();
    }
    const std::string found = model->vocab().detokenize(written);
    EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace orthorank::test
