#include "model/long_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/gguf_file.h"
#include "model/vocab.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

TextRun run(size_t first, size_t n_bytes) {
    return {first, n_bytes};
}

void expect_run(const std::string &text, const TextRun &expected) {
    const TextRun found = longest_run(text);
    EXPECT_EQ(found.first, expected.first) << text;
    EXPECT_EQ(found.n_bytes, expected.n_bytes) << text;
}

TEST(LongRuns, EndWhereAWordBeginsBehindABlank) {
    expect_run("", run(0, 0));
    expect_run("abc", run(0, 3));
    expect_run("a bcd e", run(2, 4));
    expect_run("ab  \n\n c", run(0, 7));
    expect_run("  ab", run(0, 2));
    // U+3000 and U+2028 are blanks, U+200B and half a character are not.
    expect_run(
        "ab\xe3\x80\x80"
        "c",
        run(0, 5));
    expect_run(
        "a\xe2\x80\xa8"
        "bcdefg",
        run(4, 6));
    expect_run(
        "a\xe2\x80\x8b"
        "bcdefg",
        run(0, 10));
    expect_run("a b\xe2\x80", run(2, 3));
}

// A BPE vocabulary with a pre-tokenizer; no weights.
class BpeVocab : public testing::Test {
 protected:
    std::unique_ptr<Vocab> load(const std::string &pre) {
        TinyFile file = make_tiny_file(tiny_llama());
        gguf_context *meta = file.meta.get();
        std::vector<std::string> tokens;
        // Bytes as GPT-2's vocabulary writes them, then pairs of dashes and of letters.
        for (const char c : std::string("-ab1 ")) {
            tokens.push_back(c == ' ' ? "\xc4\xa0" : std::string(1, c));
        }
        for (const char *more : {"--", "aa", "<s>", "</s>", "\xc4\x8a"}) {
            tokens.emplace_back(more);
        }
        std::vector<const char *> names;
        for (const std::string &token : tokens) {
            names.push_back(token.c_str());
        }
        const char *merges[] = {"- -", "a a"};
        std::vector<int32_t> types(tokens.size(), 1);
        types[7] = types[8] = 3;
        gguf_set_val_str(meta, "tokenizer.ggml.model", "gpt2");
        if (!pre.empty()) {
            gguf_set_val_str(meta, "tokenizer.ggml.pre", pre.c_str());
        }
        gguf_set_arr_str(meta, "tokenizer.ggml.tokens", names.data(), names.size());
        gguf_set_arr_data(meta, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                          types.size());
        gguf_remove_key(meta, "tokenizer.ggml.scores");
        gguf_set_arr_str(meta, "tokenizer.ggml.merges", merges, 2);
        gguf_set_val_u32(meta, "tokenizer.ggml.bos_token_id", 7);
        gguf_set_val_u32(meta, "tokenizer.ggml.eos_token_id", 8);
        file.write(dir_.file("m.gguf"));
        return Vocab::load(dir_.file("m.gguf"));
    }
    TempDir dir_;
};

// What libllama's splitters recurse on; 300,000 characters would take 96 MB of the usual 8.
TEST_F(BpeVocab, LongRunsKeepTheirTokens) {
    for (const std::string pre : {"tekken", "deepseek-llm", "gpt-4o", "default", "exaone-moe"}) {
        SCOPED_TRACE(pre);
        const auto vocab = load(pre);
        EXPECT_EQ(vocab->tokenize(std::string(300000, '-'), false),
                  std::vector<int32_t>(150000, 5));
        EXPECT_EQ(vocab->tokenize(std::string(300000, 'a'), false),
                  std::vector<int32_t>(150000, 6));
        EXPECT_EQ(vocab->tokenize(std::string(3000, '1'), false), std::vector<int32_t>(3000, 3));
    }
}

TEST_F(BpeVocab, RunsThatWouldTakeTooMuchAreNamed) {
    const std::string text = "a b " + std::string(10000000, '-');
    const auto recursive = load("tekken");
    expect_error(ErrorKind::limit, "10000000 bytes from byte 4 on without a blank",
                 [&] { recursive->tokenize(text, false); });
    // Letters and blanks are one match here.
    std::string words;
    while (words.size() < 3 * k_longest_run) {
        words += "a ";
    }
    const auto blanks = load("exaone-moe");
    expect_error(ErrorKind::limit, "3145728 bytes from byte 0 on",
                 [&] { blanks->tokenize(words, false); });
}

TEST_F(BpeVocab, SplittersThatDoNotRecurseTakeAnyRun) {
    const auto vocab = load("qwen2");
    const size_t n = k_longest_run + 2;
    EXPECT_EQ(vocab->tokenize(std::string(n, '-'), false), std::vector<int32_t>(n / 2, 5));
}

TEST_F(BpeVocab, AMissingPreTokenizerIsAWarning) {
    const std::string warning = "missing pre-tokenizer type, using: 'default'";
    EXPECT_THAT(load("qwen2")->warnings(), testing::Not(testing::Contains(warning)));
    EXPECT_THAT(load("")->warnings(), testing::Contains(warning));
}

// libllama asserts that its words have no two blanks.
TEST_F(BpeVocab, APreTokenizerThatItWouldNotSurvive) {
    expect_error(ErrorKind::format, "pre-tokenizer 'whitespace' is not supported",
                 [&] { load("whitespace"); });
}

}  // namespace
}  // namespace orthorank::test
