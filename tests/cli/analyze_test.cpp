// orthorank analyze as a program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "support/command_fixture.h"
#include "support/markup.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class Analyze : public CommandTest {
 protected:
    Analyze() {
        std::string text;
        for (int i = 0; i < 120; ++i) {
            text += "the quick brown fox jumps over " + std::to_string(i * i) + " lazy dogs.\n";
        }
        write_bytes(text_, text);
    }
    std::vector<std::string> analyze(std::vector<std::string> more) const {
        more.insert(more.begin(), {"analyze", "-f", text_, "-o", folder_, "--tokens", "101"});
        return more;
    }

    std::string text_ = dir_.file("text.txt");
    std::string folder_ = dir_.file("out");
};

TEST_F(Analyze, WritesFiguresDataAndAPage) {
    const ProgramResult result = run(analyze({"--windows", "2", "--seqlen", "32"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, testing::AllOf(HasSubstr("Observation 1: "), HasSubstr("index.html")));
    const json found = json::parse(read_bytes(folder_ + "/analysis.json"));
    EXPECT_EQ(found["n_tokens"], 101);
    EXPECT_EQ(found["tokens"].size(), 101u);
    EXPECT_EQ(found["results"].size(), 3u);
    EXPECT_EQ(found["sweep"]["curves"].size(), 4u);
    const double dense = found["sweep"]["dense_perplexity"];
    const json &ours = found["sweep"]["curves"][0];
    EXPECT_NEAR(ours["perplexities"][1].get<double>() - dense, ours["over_dense"][1].get<double>(),
                1e-9);
    for (const json &figure : found["figures"]) {
        const std::string base = folder_ + "/" + figure["name"].get<std::string>();
        const std::string csv = read_bytes(base + ".csv");
        EXPECT_EQ(static_cast<size_t>(std::count(csv.begin(), csv.end(), '\n')),
                  figure["rows"].size() + 1)
            << base;
        EXPECT_TRUE(is_sound_svg(read_bytes(base + ".svg"))) << base;
    }
    const auto elements = read_markup(read_bytes(folder_ + "/index.html"));
    EXPECT_EQ(elements_named(elements, "svg").size(), found["figures"].size());
}

TEST_F(Analyze, WithoutTheSweep) {
    ASSERT_EQ(run(analyze({"--no-sweep"})).exit_code, 0);
    EXPECT_TRUE(json::parse(read_bytes(folder_ + "/analysis.json"))["sweep"].is_null());
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/figure-4.svg"));
}

TEST_F(Analyze, WrongInputGetsOneLine) {
    expect_failure(2, "required", {"analyze", "-f", text_});
    expect_failure(2, "--tokens", {"analyze", "-f", text_, "-o", folder_, "--tokens", "100"});
    expect_failure(2, "--windows", analyze({"--no-sweep", "--windows", "2"}));
    const std::string short_text = dir_.file("short.txt");
    write_bytes(short_text, "hello\nworld");
    expect_failure(1, "do not fit into the model's context of",
                   {"analyze", "-f", text_, "-o", folder_, "--tokens", "100000"});
    expect_failure(1, "101 were asked for",
                   {"analyze", "-f", short_text, "-o", folder_, "--tokens", "101"});
    expect_failure(1, "text.txt", {"analyze", "-f", text_, "-o", text_, "--no-sweep"});
    EXPECT_FALSE(std::filesystem::exists(folder_));
    const ProgramResult result =
        run_program(std::string(ORTHORANK_BINARY_DIR) + "/orthorank",
                    {"analyze", "-f", text_, "-o", folder_, "-m", dir_.file("none.gguf")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("none.gguf"));
}

TEST_F(Analyze, AnInputIsNotOverwritten) {
    std::filesystem::create_directory(folder_);
    const std::string page = folder_ + "/index.html";
    std::filesystem::rename(text_, page);
    expect_failure(2, "the same file",
                   {"analyze", "-f", page, "-o", folder_, "--tokens", "101", "--no-sweep"});
}

TEST(AnalyzeOneLayer, IsRefused) {
    const TempDir dir;
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 1;
    write_tiny_gguf(tiny, dir.file("m.gguf"));
    write_bytes(dir.file("t.txt"), std::string(400, 'a'));
    const ProgramResult result = run_program(
        std::string(ORTHORANK_BINARY_DIR) + "/orthorank",
        {"analyze", "-m", dir.file("m.gguf"), "-f", dir.file("t.txt"), "-o", dir.file("out")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("has 1 layer"));
}

}  // namespace
}  // namespace orthorank::test
