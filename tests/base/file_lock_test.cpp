#include "base/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank {
namespace {

// Two descriptions of one file exclude each other within a process as between two.
TEST(FileLockTest, TheSecondIsRefused) {
    const test::TempDir dir;
    const std::string path = dir.file("x");
    test::write_bytes(path, "kept");
    {
        const FileLock first(path, "samples x", FileLock::After::keep);
        test::expect_error(ErrorKind::file, "samples x: in use by another run",
                           [&] { FileLock(path, "samples x", FileLock::After::keep); });
    }
    const FileLock again(path, "samples x", FileLock::After::keep);
    EXPECT_EQ(test::read_bytes(path), "kept");
}

TEST(FileLockTest, AFileForTheLockAloneIsRemoved) {
    const test::TempDir dir;
    const std::string path = dir.file("x.lock");
    auto first = std::make_unique<FileLock>(path, "x", FileLock::After::remove);
    EXPECT_TRUE(std::filesystem::exists(path));
    FileLock moved = std::move(*first);
    first.reset();
    test::expect_error(ErrorKind::file, "in use",
                       [&] { FileLock(path, "x", FileLock::After::remove); });
    { const FileLock last = std::move(moved); }
    EXPECT_FALSE(std::filesystem::exists(path));
    test::expect_error(ErrorKind::file, "cannot be written",
                       [&] { FileLock(dir.file("no/x"), "x", FileLock::After::remove); });
}

}  // namespace
}  // namespace orthorank
