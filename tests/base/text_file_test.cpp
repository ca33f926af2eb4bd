#include "base/text_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/output_file.h"
#include "support/temp_dir_test.h"

namespace orthorank {
namespace {

namespace fs = std::filesystem;

class TextFile : public test::TempDirTest {};

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

// Opened anew, it would have been read from its first byte.
TEST_F(TextFile, OpenDescriptorsAreReadOnFromWhereTheyStand) {
    write_file_atomically(path("x"), "first second");
    const int fd = ::open(path("x").c_str(), O_RDONLY);
    ASSERT_GE(fd, 0);
    std::string first(6, '\0');
    ASSERT_EQ(::read(fd, first.data(), first.size()), 6);
    EXPECT_EQ(read_text_file("/dev/fd/" + std::to_string(fd)), "second");
    ::close(fd);
    EXPECT_EQ(message_of([] { read_text_file("/dev/fd/499"); }),
              "/dev/fd/499: cannot be read: Bad file descriptor");
}

// A socket cannot be opened by its name.
TEST_F(TextFile, SocketsAreRead) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ASSERT_EQ(::write(ends[0], "prompt", 6), 6);
    ::close(ends[0]);
    EXPECT_EQ(read_text_file("/proc/self/fd/" + std::to_string(ends[1])), "prompt");
    ::close(ends[1]);
}

}  // namespace
}  // namespace orthorank
