// Texts become windows by the three protocols.
#include "calibration/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank {
namespace {

using test::expect_error;
using testing::ElementsAre;

TEST(CalibrationRows, KeepLineEndsAndEmptyBlankLines) {
    test::TempDir dir;
    test::write_bytes(dir.file("a.txt"), " \n = Title = \n\n text\nlast");
    EXPECT_THAT(read_rows(dir.file("a.txt")),
                ElementsAre("", " = Title = \n", "", " text\n", "last"));
    test::write_bytes(dir.file("a.jsonl"), "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    EXPECT_THAT(read_rows(dir.file("a.jsonl")), ElementsAre("one", "two"));
}

TEST(SlebText, IsShuffledAndJoined) {
    std::vector<std::string> rows;
    for (char c = '0'; c <= '9'; ++c) {
        rows.push_back(std::string(1, c));
    }
    EXPECT_EQ(sleb_text(rows), "4\n\n6\n\n2\n\n7\n\n3\n\n5\n\n9\n\n0\n\n8\n\n1");
    rows.assign(1000, "x");
    EXPECT_EQ(sleb_text(rows).size(), 128u + 127u * 2u);
}

class ReadCalibration : public testing::Test {
 protected:
    ReadCalibration() {
        test::write_tiny_gguf(test::tiny_llama(), dir_.file("m.gguf"));
        model_ = Model::load(dir_.file("m.gguf"));
        std::string text;
        for (int line = 0; line < 30; ++line) {
            text += std::string(static_cast<size_t>(40 + line), static_cast<char>('a' + line % 26));
            text += "\n";
        }
        test::write_bytes(dir_.file("t.txt"), text);
        options_.files = {dir_.file("t.txt")};
    }

    Calibration read() { return read_calibration(options_, model_->vocab()); }

    test::TempDir dir_;
    std::unique_ptr<Model> model_;
    CalibrationOptions options_;
};

TEST_F(ReadCalibration, StrideAndLimit) {
    options_.seqlen = 16;
    const Calibration all = read();
    EXPECT_EQ(static_cast<int64_t>(all.windows.size()), all.n_tokens / 16);
    options_.stride = 40;
    options_.n_windows = 3;
    const Calibration some = read();
    ASSERT_EQ(some.windows.size(), 3u);
    for (size_t i = 0; i < 16; ++i) {
        EXPECT_EQ(some.windows.window(2)[i], all.windows.tokens[80 + i]);
    }
    EXPECT_NE(all.description.at("hash"), some.description.at("hash"));
    EXPECT_EQ(some.description.at("windows"), 3);
}

TEST_F(ReadCalibration, CropsAreTenAndTheSameEveryTime) {
    options_.protocol = CalibrationProtocol::crops;
    options_.seqlen = 24;
    const Calibration first = read();
    EXPECT_EQ(first.windows.size(), 10u);
    EXPECT_EQ(read().windows.tokens, first.windows.tokens);
    options_.seqlen = 68;
    expect_error(ErrorKind::limit, "10 crops need as many", [&] { read(); });
    options_.stride = 5;
    expect_error(ErrorKind::usage, "--stride", [&] { read(); });
}

TEST_F(ReadCalibration, PartsOfSeveralFilesAreCounted) {
    test::write_bytes(dir_.file("short.txt"), std::string(70, 'x'));
    options_.files.push_back(dir_.file("short.txt"));
    options_.seqlen = 16;
    options_.n_windows = 2;
    const Calibration equal = read();
    EXPECT_THAT(equal.n_windows_of_file, ElementsAre(2, 2));
    check_equal_parts(equal);
    options_.n_windows = 9;
    const Calibration unequal = read();
    EXPECT_EQ(unequal.n_windows_of_file.front(), 9u);
    const std::string fewer = std::to_string(unequal.n_windows_of_file.back());
    expect_error(ErrorKind::limit,
                 "t.txt has 9 windows, short.txt only " + fewer +
                     ": corrections are fitted on "
                     "equal parts of all texts; say --windows " +
                     fewer,
                 [&] { check_equal_parts(unequal); });
}

TEST_F(ReadCalibration, WhatCannotBeIsRefused) {
    options_.seqlen = 100000;
    expect_error(ErrorKind::limit, "not one window of 100000", [&] { read(); });
    options_.seqlen = 1;
    expect_error(ErrorKind::usage, "predicts nothing", [&] { read(); });
    options_.files.clear();
    options_.seqlen = 8;
    expect_error(ErrorKind::usage, "name a file", [&] { read(); });
    expect_error(ErrorKind::usage, "known: windows, sleb, crops",
                 [] { calibration_protocol_from_name("c4"); });
}

// Gemma's windows are BOS and one token less of text each, one behind the other.
TEST_F(ReadCalibration, WindowsOfAModelThatNeedsBos) {
    test::write_tiny_gguf(test::tiny_architecture("gemma3"), dir_.file("g.gguf"));
    const auto gemma = Model::load(dir_.file("g.gguf"));
    const int32_t bos = gemma->vocab().bos();
    std::vector<int32_t> text =
        gemma->vocab().tokenize(test::read_bytes(dir_.file("t.txt")), /*add_bos=*/false);
    for (const CalibrationProtocol protocol :
         {CalibrationProtocol::windows, CalibrationProtocol::crops}) {
        options_.protocol = protocol;
        options_.seqlen = 16;
        options_.n_windows = 3;
        const Windows windows = read_calibration(options_, gemma->vocab()).windows;
        ASSERT_EQ(windows.size(), 3u);
        for (size_t w = 0; w < windows.size(); ++w) {
            const std::span<const int32_t> window = windows.window(w);
            EXPECT_EQ(window.front(), bos);
            EXPECT_EQ(std::count(window.begin(), window.end(), bos), 1);
            if (protocol == CalibrationProtocol::windows) {
                EXPECT_TRUE(std::equal(window.begin() + 1, window.end(), text.begin() + 15 * w));
            }
        }
    }
}

}  // namespace
}  // namespace orthorank
