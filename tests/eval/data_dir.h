// A directory of small data files that a test writes, removed with it; and the message of the Error
// that a call throws.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace orthorank {

class DataDir {
 public:
    DataDir() {
        static int n_made = 0;
        const ::testing::TestInfo *test = ::testing::UnitTest::GetInstance()->current_test_info();
        path_ = std::filesystem::path(::testing::TempDir()) /
                fmt::format("orthorank-{}-{}-{}-{}", test->test_suite_name(), test->name(),
                            static_cast<long>(::getpid()), n_made++);
        std::filesystem::create_directories(path_);
    }
    ~DataDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    DataDir(const DataDir &) = delete;
    DataDir &operator=(const DataDir &) = delete;

    std::string str() const { return path_.string(); }
    // Writes a file below the directory and returns its path.
    std::string write(const std::string &name, const std::string &content) const {
        const std::filesystem::path file = path_ / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << content;
        return file.string();
    }

 private:
    std::filesystem::path path_;
};

// "kind|message" of the Error thrown by `call`, or "" with a test failure if it throws none.
template <typename Call>
std::string error_of(Call call) {
    try {
        call();
    } catch (const Error &error) {
        static const char *const kinds[] = {"usage", "file",   "format",
                                            "limit", "device", "request"};
        return std::string(kinds[static_cast<int>(error.kind())]) + "|" + error.what();
    }
    ADD_FAILURE() << "no Error was thrown";
    return "";
}

// The shared evaluation data, beside the checkout or beside the main checkout of a worktree.
inline std::string shared_data_dir() {
    return std::string(ORTHORANK_SOURCE_DIR) + "/../shared/data";
}

}  // namespace orthorank

// Skips the test, saying why, where the shared data set is not there.
#define REQUIRE_SHARED_DATA(name)                                                      \
    do {                                                                               \
        if (!std::filesystem::exists(::orthorank::shared_data_dir() + "/" + (name))) { \
            GTEST_SKIP() << "no " << ::orthorank::shared_data_dir() << "/" << (name);  \
        }                                                                              \
    } while (false)
