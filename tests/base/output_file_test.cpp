#include "base/output_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/text_file.h"
#include "support/temp_dir_test.h"

namespace orthorank {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Output : public test::TempDirTest {};

std::string message_of(const std::function<void()> &action) {
    try {
        action();
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::file);
        return error.what();
    }
    return "no error";
}

TEST_F(Output, SaysWhyAndLeavesNothing) {
    EXPECT_EQ(message_of([&] { write_file_atomically(path("no/x"), "1"); }),
              path("no/x") + ": cannot be written: no folder " + path("no") + " to write to");
    EXPECT_EQ(message_of([&] { write_file_atomically(path("."), "1"); }),
              path(".") + ": cannot be written: it is a directory");
    EXPECT_EQ(message_of([] { write_file_atomically("/dev/full", "1"); }),
              "/dev/full: cannot be written: No space left on device");
    EXPECT_THAT(message_of([&] { write_file_atomically(path(std::string(250, 'x')), "1"); }),
                HasSubstr("File name too long"));
    EXPECT_EQ(n_files(), 0u);
}

TEST_F(Output, CheckedBeforeTheWork) {
    EXPECT_THAT(message_of([&] { check_writable(path("no/x")); }), HasSubstr("no folder"));
    EXPECT_THAT(message_of([&] { check_writable(path(".")); }), HasSubstr("it is a directory"));
    EXPECT_THAT(message_of([&] { check_writable(path(std::string(250, 'x'))); }),
                HasSubstr("File name too long"));
    EXPECT_THAT(message_of([] { check_writable("/dev/fd/499"); }),
                HasSubstr("/dev/fd/499: cannot be written: that descriptor is not open"));
    fs::create_symlink(path("no/y"), path("link"));
    EXPECT_THAT(message_of([&] { check_writable(path("link")); }), HasSubstr("no folder"));
    check_writable(path("x"));
    check_writable("/dev/null");
    check_writable("/dev/stderr");
    EXPECT_EQ(n_files(), 1u) << "the link";
}

TEST_F(Output, UnfinishedLeavesWhatWasThere) {
    write_file_atomically(path("x"), "old");
    {
        OutputFile file(path("x"));
        file.write("new");
        EXPECT_EQ(file.n_bytes(), 3);
        EXPECT_EQ(read_text_file(path("x")), "old");
    }
    EXPECT_EQ(read_text_file(path("x")), "old");
    EXPECT_EQ(n_files(), 1u);
}

TEST_F(Output, NewFileFollowsTheUmaskAndAReplacedOneItsOldMode) {
    const mode_t old_mask = ::umask(027);
    write_file_atomically(path("x"), "1");
    ::umask(old_mask);
    EXPECT_EQ(fs::status(path("x")).permissions() & fs::perms::all, fs::perms(0640));
    fs::permissions(path("x"), fs::perms(0600));
    write_file_atomically(path("x"), "2");
    EXPECT_EQ(fs::status(path("x")).permissions() & fs::perms::all, fs::perms(0600));
}

// Renaming over /dev/stdout would have replaced the link to the terminal by a file.
TEST_F(Output, LinksAreFollowedNotReplaced) {
    write_file_atomically(path("target"), "a long old content");
    fs::create_symlink("target", path("link"));
    fs::create_symlink(path("link"), path("link2"));
    write_file_atomically(path("link2"), "new");
    EXPECT_TRUE(fs::is_symlink(path("link")));
    EXPECT_TRUE(fs::is_symlink(path("link2")));
    EXPECT_EQ(read_text_file(path("target")), "new");
    fs::create_symlink("none", path("dangling"));
    write_file_atomically(path("dangling"), "made");
    EXPECT_TRUE(fs::is_symlink(path("dangling")));
    EXPECT_EQ(read_text_file(path("none")), "made");
    fs::create_symlink("circle", path("circle"));
    EXPECT_THAT(message_of([&] { check_writable(path("circle")); }), HasSubstr("circle"));
    EXPECT_TRUE(fs::is_symlink(path("circle")));
}

TEST_F(Output, PipesAreWrittenInto) {
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    check_writable(path("pipe"));
    std::string received;
    std::thread reader([&] { received = read_text_file(path("pipe")); });
    write_file_atomically(path("pipe"), "through");
    reader.join();
    EXPECT_EQ(received, "through");
    EXPECT_TRUE(fs::is_fifo(path("pipe")));
}

// Only root can make a device, and only root's rename would have replaced one.
TEST_F(Output, DevicesAreWrittenInto) {
    if (::mknod(path("null").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) {
        write_file_atomically("/dev/null", "1");
        EXPECT_TRUE(fs::is_character_file("/dev/null"));
        return;
    }
    OutputFile file(path("null"));
    file.write("1");
    EXPECT_THAT(message_of([&] { file.temporary_name(); }), HasSubstr("it is no file"));
    file.finish();
    EXPECT_TRUE(fs::is_character_file(path("null")));
}

// Opened anew, /dev/fd/N would have cut what the log has.
TEST_F(Output, OpenDescriptorsAreUsedAsTheyAre) {
    write_file_atomically(path("log"), "before\n");
    const int fd = ::open(path("log").c_str(), O_WRONLY | O_APPEND);
    ASSERT_GE(fd, 0);
    const std::string name = "/dev/fd/" + std::to_string(fd);
    fs::create_symlink(name, path("link"));
    check_writable(name);
    write_file_atomically(name, "one\n");
    write_file_atomically("/proc/self/fd/" + std::to_string(fd), "two\n");
    write_file_atomically(path("link"), "three\n");
    ::close(fd);
    EXPECT_EQ(read_text_file(path("log")), "before\none\ntwo\nthree\n");
    EXPECT_EQ(n_files(), 2u);
}

TEST_F(Output, ALibraryMayWriteByName) {
    OutputFile file(path("x"));
    write_file_atomically(path("other"), "");
    test::write_bytes(file.temporary_name(), "by name");
    file.finish();
    EXPECT_EQ(read_text_file(path("x")), "by name");
    EXPECT_EQ(n_files(), 2u);
}

TEST_F(Output, WritersAtOnceLeaveOneWholeFile) {
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
