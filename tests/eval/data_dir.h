// A directory of small data files that a test writes, removed with it; the message of the Error
// that a call throws; the shared data sets.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "support/paths.h"

namespace orthorank {

class DataDir {
 public:
    std::string str() const { return dir_.path().string(); }
    // Writes a file below the directory and returns its path.
    std::string write(const std::string &name, const std::string &content) const {
        const std::filesystem::path file = dir_.path() / name;
        std::filesystem::create_directories(file.parent_path());
        test::write_bytes(file.string(), content);
        return file.string();
    }

 private:
    test::TempDir dir_;
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

}  // namespace orthorank

// Skips the test, saying why, where the shared data set is not there.
#define REQUIRE_SHARED_DATA(name)                                    \
    do {                                                             \
        if (::orthorank::test::shared_path("data/" name).empty()) {  \
            GTEST_SKIP() << "no data/" << (name) << " in ../shared"; \
        }                                                            \
    } while (false)
