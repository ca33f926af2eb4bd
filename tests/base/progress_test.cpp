#include "base/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <string>

namespace orthorank {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(ProgressLine, Parts) {
    EXPECT_EQ(progress_line("perplexity", 0.25, "ppl 19.31", 10.0, 100),
              "perplexity [######------------------] 25%  30 s left  ppl 19.31");
    EXPECT_EQ(progress_line("load", 0.0, "", 10.0, 100), "load [------------------------] 0%");
    EXPECT_EQ(progress_line("load", 1.0, "", 10.0, 100), "load [########################] 100%");
}

TEST(ProgressLine, FractionOutOfRangeIsClamped) {
    EXPECT_THAT(progress_line("x", 1.5, "", 1.0, 100), EndsWith("100%"));
    EXPECT_THAT(progress_line("x", -1.0, "", 1.0, 100), EndsWith(" 0%"));
    EXPECT_THAT(progress_line("x", std::numeric_limits<double>::quiet_NaN(), "", 1.0, 100),
                EndsWith(" 0%"));
}

TEST(ProgressLine, IsNotDoneBeforeItIs) {
    EXPECT_THAT(progress_line("x", 0.9999, "", 1.0, 100), HasSubstr(" 99%"));
}

TEST(ProgressLine, FitsTheTerminal) {
    EXPECT_EQ(progress_line("perplexity", 0.5, "ppl", 1.0, 12), "perplexity [");
    EXPECT_EQ(progress_line("perplexity", 0.5, "ppl", 1.0, -1), "");
}

TEST(DurationText, Units) {
    EXPECT_EQ(duration_text(0.2), "0 s");
    EXPECT_EQ(duration_text(59.4), "59 s");
    EXPECT_EQ(duration_text(59.6), "1 min 00 s");
    EXPECT_EQ(duration_text(185.0), "3 min 05 s");
    EXPECT_EQ(duration_text(7620.0), "2 h 07 min");
    EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "a long time");
}

TEST(Progress, SilentWithoutATerminal) {
    std::FILE *file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    {
        Progress progress("load", file);
        EXPECT_FALSE(progress.is_shown());
        progress.update(0.5, "text");
        progress.finish();
    }
    EXPECT_EQ(std::ftell(file), 0);
    std::fclose(file);
}

// A pseudo-terminal: what is written to `stream` is read from `reader`.
class ProgressOnTerminal : public testing::Test {
 protected:
    void SetUp() override {
        reader_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (reader_ < 0 || ::grantpt(reader_) != 0 || ::unlockpt(reader_) != 0) {
            GTEST_SKIP() << "no pseudo-terminal on this machine";
        }
        const char *name = ::ptsname(reader_);
        const int writer = name != nullptr ? ::open(name, O_RDWR | O_NOCTTY) : -1;
        if (writer < 0) {
            GTEST_SKIP() << "no pseudo-terminal on this machine";
        }
        winsize size{};
        size.ws_col = 60;
        size.ws_row = 24;
        ::ioctl(writer, TIOCSWINSZ, &size);
        stream_ = ::fdopen(writer, "w");
    }
    void TearDown() override {
        if (stream_ != nullptr) {
            std::fclose(stream_);
        }
        ::close(reader_);
    }

    std::string shown() const {
        std::array<char, 4096> buffer;
        const ssize_t n = ::read(reader_, buffer.data(), buffer.size());
        return n > 0 ? std::string(buffer.data(), static_cast<size_t>(n)) : std::string();
    }

    std::FILE *stream_ = nullptr;
    int reader_ = -1;
};

TEST_F(ProgressOnTerminal, DrawsAndClears) {
    {
        Progress progress("load", stream_);
        EXPECT_TRUE(progress.is_shown());
        EXPECT_EQ(shown(), "");  // nothing before the first update
        progress.update(0.0, "loss 3.5");
        EXPECT_EQ(shown(), "\r\x1b[Kload [------------------------] 0%  loss 3.5");
    }
    EXPECT_EQ(shown(), "\r\x1b[K");
}

TEST_F(ProgressOnTerminal, ClearsOnceAndStaysOnOneLine) {
    Progress progress("a long label that leaves little room", stream_);
    progress.update(0.0, "and a long text");
    EXPECT_EQ(shown().size(), 4u + 59u);
    progress.finish();
    EXPECT_EQ(shown(), "\r\x1b[K");
    progress.finish();
    EXPECT_EQ(shown(), "");
}

TEST_F(ProgressOnTerminal, SilentOnATerminalThatCannotClearLines) {
    Progress progress("load", stream_, /*is_dumb=*/true);
    EXPECT_FALSE(progress.is_shown());
}

}  // namespace
}  // namespace orthorank
