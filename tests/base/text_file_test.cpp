#include "base/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace orthorank {
namespace {

namespace fs = std::filesystem;

// A folder of this test's own, removed with it.
class TextFile : public testing::Test {
 protected:
    void SetUp() override {
        const auto *info = testing::UnitTest::GetInstance()->current_test_info();
        folder_ = fs::path(testing::TempDir()) / ("text_file_" + std::string(info->name()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    std::string path(const std::string &name) const { return (folder_ / name).string(); }

    size_t n_files() const {
        size_t n = 0;
        for (const auto &entry : fs::directory_iterator(folder_)) {
            n += entry.is_regular_file() ? 1 : 0;
        }
        return n;
    }

 private:
    fs::path folder_;
};

std::string message_of(const std::function<void()> &action) {
    try {
        action();
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::file);
        return error.what();
    }
    return "no error";
}

TEST_F(TextFile, BytesComeBack) {
    const std::string content("a\0b\r\n\xff\n", 7);
    write_file_atomically(path("x"), content);
    EXPECT_EQ(read_text_file(path("x")), content);
    write_file_atomically(path("x"), "");
    EXPECT_EQ(read_text_file(path("x")), "");
    const std::string large(200001, 'x');
    write_file_atomically(path("x"), large);
    EXPECT_EQ(read_text_file(path("x")), large);
    EXPECT_EQ(n_files(), 1u);
}

TEST_F(TextFile, ReadingSaysWhy) {
    EXPECT_EQ(message_of([&] { read_text_file(path("none")); }),
              path("none") + ": cannot be read: No such file or directory");
    EXPECT_EQ(message_of([&] { read_text_file(path("")); }),
              path("") + ": cannot be read: Is a directory");
    write_file_atomically(path("file"), "1");
    EXPECT_EQ(message_of([&] { read_text_file(path("file/x")); }),
              path("file/x") + ": cannot be read: Not a directory");
}

TEST_F(TextFile, UnreadableFileSaysWhy) {
    write_file_atomically(path("x"), "1");
    fs::permissions(path("x"), fs::perms::none);
    if (::access(path("x").c_str(), R_OK) == 0) {
        GTEST_SKIP() << "run as root: every file can be read";
    }
    EXPECT_EQ(message_of([&] { read_text_file(path("x")); }),
              path("x") + ": cannot be read: Permission denied");
}

TEST_F(TextFile, ReadingStopsAtTheLimit) {
    write_file_atomically(path("x"), "12345");
    EXPECT_EQ(read_text_file(path("x"), 5), "12345");
    EXPECT_EQ(message_of([&] { read_text_file(path("x"), 4); }),
              path("x") + ": is larger than 4 bytes, the most that is read here");
    EXPECT_EQ(message_of([] { read_text_file("/dev/zero", 100000); }),
              "/dev/zero: is larger than 100000 bytes, the most that is read here");
}

TEST_F(TextFile, WritingSaysWhyAndLeavesNothing) {
    EXPECT_EQ(message_of([&] { write_file_atomically(path("no/x"), "1"); }),
              path("no/x") + ": cannot be written: No such file or directory");
    EXPECT_EQ(message_of([&] { write_file_atomically(path(""), "1"); }),
              path("") + ": cannot be written: Is a directory");
    EXPECT_EQ(message_of([] { write_file_atomically("/dev/full", "1"); }),
              "/dev/full: cannot be written: No space left on device");
    EXPECT_EQ(n_files(), 0u);
}

TEST_F(TextFile, NewFileFollowsTheUmask) {
    const mode_t old_mask = ::umask(027);
    write_file_atomically(path("x"), "1");
    ::umask(old_mask);
    EXPECT_EQ(fs::status(path("x")).permissions() & fs::perms::all, fs::perms(0640));
}

// Renaming over /dev/stdout would have replaced the link to the terminal by a file.
TEST_F(TextFile, LinksAndPipesAreWrittenToNotReplaced) {
    write_file_atomically(path("target"), "a long old content");
    fs::create_symlink(path("target"), path("link"));
    write_file_atomically(path("link"), "new");
    EXPECT_TRUE(fs::is_symlink(path("link")));
    EXPECT_EQ(read_text_file(path("target")), "new");

    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    std::string received;
    std::thread reader([&] { received = read_text_file(path("pipe")); });
    write_file_atomically(path("pipe"), "through");
    reader.join();
    EXPECT_EQ(received, "through");
    EXPECT_TRUE(fs::is_fifo(path("pipe")));
}

TEST_F(TextFile, WritersAtOnceLeaveOneWholeFile) {
    const std::string a(100000, 'a');
    const std::string b(100000, 'b');
    const auto write_often = [&](const std::string &content) {
        for (int i = 0; i < 10; ++i) {
            write_file_atomically(path("x"), content);
        }
    };
    std::thread other([&] { write_often(a); });
    write_often(b);
    other.join();
    const std::string content = read_text_file(path("x"));
    EXPECT_TRUE(content == a || content == b);
    EXPECT_EQ(n_files(), 1u);
}

}  // namespace
}  // namespace orthorank
